// out[b, c] = mean over the pixels of input[b, :, c].
//
// input [B, P, C4], out [B, C4]. An invocation takes one vec4 of channels of one batch item. f32.
//@use storage
const WG = 64u;

struct Params {
  B: u32,    // batch
  P: u32,    // pixels per batch item
  C4: u32,   // vec4 per pixel
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, P, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, C4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.C4) { return; }
  let start = i / p.C4 * p.P * p.C4 + i % p.C4;
  var sum = vec4<f32>(0.0);
  for (var row = 0u; row < p.P; row++) { sum += load4(input[start + row * p.C4]); }
  out[i] = store4(sum / f32(p.P));
}
