// out[b, y, x, o] = (act(Σₛ sums[s, b, y, x, o] + bias[o] + shift[b, o]) + residual[b, y, x, o]) · scale: second pass
// of a convolution whose sums `conv2dMatrixSplit` computed in parts.
//
// sums [parts, B, OH, OW, O] f32, out [B, OH, OW, O]; channels are padded to vec4. An invocation computes one vec4.
//@use storage activation convOut
const WG = 64u;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_SHIFT = false;
const HAS_RESIDUAL = false;

struct Params {
  B: u32,        // batch
  OH: u32,       // rows of the output
  OW: u32,       // columns of the output
  O4: u32,       // vec4 per output pixel
  O: u32,        // output channels
  parts: u32,
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>;        // [parts, B, OH, OW, O4]
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(2) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(3) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let size = p.B * p.OH * p.OW * p.O4;
  if (i >= size) { return; }
  var sum = vec4<f32>(0.0);
  for (var s = 0u; s < p.parts; s++) { sum += sums[s * size + i]; }
  finish(i / p.O4, i % p.O4, sum);
}
