// out[b, k] = scale · ([k = ids[b]] − softmax(logits[b, :])[k]): the gradient of log softmax at a class by the logits.
//
// logits, out [B, N4] with N classes, ids [B]. An invocation takes one batch item, in three passes. f32.
//@use storage exponential
const WG = 64u;

struct Params {
  B: u32,    // batch
  N: u32,    // classes
  N4: u32,   // vec4 per item
  scale: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<Elem4>;          // [B, N4]
@group(0) @binding(1) var<storage, read> ids: array<u32>;               // [B]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;       // [B, N4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let b = (group.x + group.y * groups.x) * WG + lane;
  if (b >= p.B) { return; }
  let start = b * p.N4;
  let lanes = vec4<u32>(0u, 1u, 2u, 3u);
  var top4 = vec4<f32>(load4(logits[start]).x);
  for (var i = 0u; i < p.N4; i++) {
    top4 = select(top4, max(top4, load4(logits[start + i])), 4u * i + lanes < vec4<u32>(p.N));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  var sum4 = vec4<f32>(0.0);
  for (var i = 0u; i < p.N4; i++) {
    let e = exponential(load4(logits[start + i]) - top);
    sum4 += select(vec4<f32>(0.0), e, 4u * i + lanes < vec4<u32>(p.N));
  }
  let share = 1.0 / dot(sum4, vec4<f32>(1.0));
  for (var i = 0u; i < p.N4; i++) {
    let hit = select(vec4<f32>(0.0), vec4<f32>(1.0), 4u * i + lanes == vec4<u32>(ids[b]));
    let v = hit - share * exponential(load4(logits[start + i]) - top);
    out[start + i] = store4(select(vec4<f32>(0.0), p.scale * v, 4u * i + lanes < vec4<u32>(p.N)));
  }
}
