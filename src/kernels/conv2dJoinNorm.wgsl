// out[b, p, c] = normAct((h[b, p, c] − mean) / √(var + eps) · gamma[c] + beta[c]) · factor with
// h[b, p, c] = (act(Σₛ sums[s, b, p, c] + bias[c] + shift[b, c]) + residual[b, p, c]) · scale,
// mean and var of the group that channel c is in: second pass of a convolution whose sums `conv2dMatrixSplit` computed
// in parts, and the group norm behind it, whose input nobody else reads.
//
// sums [PARTS, B, P, C] f32, out [B, P, C], channels padded to vec4. A workgroup owns a slab, p.slab whole groups of
// one batch item, and writes p.rows pixels of it (`modules/slab.wgsl`). What is normalised is joined twice, once for
// the statistics: parts of a small map lie in the cache. f32.
//@use storage activation convOut slab
const WG = 256u;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_SHIFT = false;
const HAS_RESIDUAL = false;
const NORM_ACT = 0u;
const HAS_GAMMA = true;
const HAS_BETA = true;
const PARTS = 2u; // known, so that the loads of all of them are on their way together

struct Params {
  B: u32,        // batch
  OH: u32,       // rows of the map
  OW: u32,       // columns of the map
  O4: u32,       // vec4 per pixel
  O: u32,        // channels
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  scale: f32,    // applied in front of the norm
  P: u32,        // OH · OW
  C: u32,        // O, as the norm has it
  C4: u32,       // O4, as the norm has it
  G: u32,        // groups
  size: u32,     // channels per group
  slab: u32,     // groups per workgroup; slab · size is a multiple of four and at most WG
  rows: u32,     // pixels that a workgroup writes
  eps: f32,
  factor: f32,   // applied last
}

@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>;        // [PARTS, B, P, C4]
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;        // [C4]
@group(0) @binding(2) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(3) var<storage, read> residual: array<Elem4>;        // [B, P, C4]
@group(0) @binding(4) var<storage, read> gamma: array<vec4<f32>>;       // [C4]
@group(0) @binding(5) var<storage, read> beta: array<vec4<f32>>;        // [C4]
@group(0) @binding(6) var<storage, read_write> out: array<Elem4>;       // [B, P, C4]
@group(0) @binding(7) var<uniform> p: Params;

fn valueAt(b: u32, pixel: u32, c4: u32) -> vec4<f32> {
  let m = b * p.P + pixel;
  var sum = vec4<f32>(0.0);
  for (var s = 0u; s < PARTS; s++) { sum += sums[(s * p.B * p.P + m) * p.C4 + c4]; }
  return finished(m, c4, sum);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let s = slabOf(group, lane);
  var m: Moments;
  if (s.member < s.team) { m = overPixels(s.b, s.c4, s.member, s.team); }
  normaliseSlab(s, m, group.x, lane);
}
