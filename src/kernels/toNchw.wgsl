// out[b, c, y, x] = in[b, y, x, c] · scale + offset: the way out, from padded NHWC storage to dense f32.
//
// input [B, P, C4], out [B, C, P] dense (P = H·W). An invocation reads one vec4 and writes up to four channels; lanes
// run along P, so that each write is contiguous over the workgroup.
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

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, P, C4]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;         // [B, C, P]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.C4 * p.P) { return; }
  let pixel = i % p.P;
  let c4 = (i / p.P) % p.C4;
  let b = i / (p.P * p.C4);
  let v = load4(input[(b * p.P + pixel) * p.C4 + c4]) * p.scale + p.offset;
  for (var j = 0u; j < 4u; j++) {
    let c = 4u * c4 + j;
    if (c < p.C) { out[(b * p.C + c) * p.P + pixel] = v[j]; }
  }
}
