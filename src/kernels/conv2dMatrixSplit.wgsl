// sums[s, m, o] = Σ over part s of the taps and channels under pixel m: the first of two passes of a convolution by
// subgroup matrices, for small maps, whose tiles alone would leave most of a card idle; `conv2dJoin` is the other.
//
// As `conv2dMatrix.wgsl` has it; the third dimension of the grid counts parts. Halves multiplied, sums in f32.
//@use storage convPart matrix
const MM = 16u;
const MN = 16u;
const MK = 16u;
const SUBS_M = 2u;
const SUBS_N = 4u;
const ROWS = 4u;
const COLS = 2u;
const K4S = 4u;
const EXACT = false;
const UP = 1u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of the input
  W: u32,        // columns of the input
  I4: u32,       // vec4 per input pixel
  OH: u32,       // rows of the output
  OW: u32,       // columns of the output
  O4: u32,       // vec4 per output pixel
  R: u32,        // rows of the kernel
  S: u32,        // columns of the kernel
  stride: u32,   // pixels, both ways
  dilation: u32, // pixels from tap to tap, both ways
  top: u32,      // rows of padding above
  left: u32,     // columns of padding on the left
  part4: u32,    // vec4 of a window in a part, a multiple of K4S
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [R, S, I4, O4, 4]: blocks of four i of four o
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;  // [parts, B, OH, OW, O4]
@group(0) @binding(3) var<uniform> p: Params;

var<private> part: u32; // of this workgroup; only the epilogue reads it, since its uniformity is not seen

fn finishPair(m: u32, o4: u32, first: vec4<f32>, second: vec4<f32>) {
  let pixels = p.B * p.OH * p.OW;
  if (!EXACT && m >= pixels) { return; }
  let at = (part * pixels + m) * p.O4 + o4;
  if (EXACT || o4 < p.O4) { sums[at] = first; }
  if (EXACT || o4 + 1u < p.O4) { sums[at + 1u] = second; }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  part = group.z;
  let k4 = group.z * p.part4;
  matrixProduct(group.y * TILE_M, group.x * TILE_N4, k4, min(p.part4, p.R * p.S * p.I4 - k4), lane);
}
