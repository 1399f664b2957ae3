// out[b, y, x, c] = in[b, c, y, x] · scale + offset: the way in, from dense f32 as the field writes it to padded NHWC
// storage.
//
// input [B, C, P] dense (P = H·W), out [B, P, C4]. An invocation writes one vec4; lanes run along P, so that each of
// its four reads is contiguous over the workgroup. Channels beyond C become zero.
//@use storage
const WG = 64u;

struct Params {
  B: u32,        // batch
  C: u32,        // channels
  P: u32,        // pixels
  C4: u32,       // vec4 per pixel
  scale: f32,
  offset: f32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;             // [B, C, P]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, P, C4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.C4 * p.P) { return; }
  let pixel = i % p.P;
  let c4 = (i / p.P) % p.C4;
  let b = i / (p.P * p.C4);
  var v = vec4<f32>(0.0);
  for (var j = 0u; j < 4u; j++) {
    let c = 4u * c4 + j;
    if (c < p.C) { v[j] = input[(b * p.C + c) * p.P + pixel] * p.scale + p.offset; }
  }
  out[(b * p.P + pixel) * p.C4 + c4] = store4(v);
}
