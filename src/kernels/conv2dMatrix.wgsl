// out[b, y, x, o] = (act(sum + bias[o] + shift[b, o]) + residual[b, y, x, o]) · scale,
//   sum = Σ_{r,s,i} in[b, y·stride + r·d − top, x·stride + s·d − left, i] · w[o, i, r, s];
// by subgroup matrices: halves multiplied, sums in f32; in is zero outside its map; d is the dilation.
//
// UP = 2: in is the input with every pixel doubled both ways (nearest neighbour), H and W are those of the input
// itself.
// input [B, H, W, I], w [O, I, R, S] packed by `packConv` into 4×4 blocks, out [B, OH, OW, O]; channels are padded to
// vec4.
// Implicit matrix multiplication: rows are pixels, four k are four channels under one tap. A workgroup of
// SUBS_M × SUBS_N subgroups computes MM·ROWS·SUBS_M pixels × MN·COLS·SUBS_N channels, each subgroup ROWS × COLS
// matrices, 4·K4S k at a time.
// EXACT leaves out what guards the edges of the matrix, for sizes that tiles divide.
//@use storage activation convPart convOut matrix
const MM = 16u;
const MN = 16u;
const MK = 16u;
const SUBS_M = 2u;
const SUBS_N = 4u;
const ROWS = 4u;
const COLS = 2u;
const K4S = 4u;
const EXACT = false;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_SHIFT = false;
const HAS_RESIDUAL = false;
const UP = 1u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of the input
  W: u32,        // columns of the input
  I4: u32,       // vec4 per input pixel
  OH: u32,       // rows of the output
  OW: u32,       // columns of the output
  O4: u32,       // vec4 per output pixel
  O: u32,        // output channels
  R: u32,        // rows of the kernel
  S: u32,        // columns of the kernel
  stride: u32,   // pixels, both ways
  dilation: u32, // pixels from tap to tap, both ways
  top: u32,      // rows of padding above
  left: u32,     // columns of padding on the left
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [R, S, I4, O4, 4]: blocks of four i of four o
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(3) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(4) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(5) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(6) var<uniform> p: Params;

fn finishPair(m: u32, o4: u32, first: vec4<f32>, second: vec4<f32>) {
  if (!EXACT && m >= p.B * p.OH * p.OW) { return; }
  if (EXACT || o4 < p.O4) { finish(m, o4, first); }
  if (EXACT || o4 + 1u < p.O4) { finish(m, o4 + 1u, second); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  matrixProduct((group.y + group.z * groups.y) * TILE_M, group.x * TILE_N4, 0u, p.R * p.S * p.I4, lane);
}
