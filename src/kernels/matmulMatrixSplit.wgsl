// sums[s, m, n] = Σ over part s of k of a[m, k] · w[n, k]: the first of two passes of a product by subgroup matrices,
// where tiles alone would leave most of a card idle; `matmulJoin` is the other.
//
// As `matmulMatrix.wgsl` has it; the third dimension of the grid counts parts. Halves multiplied, sums in f32.
//@use storage linearPart matrix
const MM = 16u;
const MN = 16u;
const MK = 16u;
const SUBS_M = 2u;
const SUBS_N = 4u;
const ROWS = 4u;
const COLS = 2u;
const K4S = 4u;
const EXACT = false;
const HAS_SECOND = false;

struct Params {
  M: u32,       // rows
  K4: u32,      // vec4 per row of a
  A4: u32,      // vec4 of them that are not in second
  part4: u32,   // vec4 of a row in a part, a multiple of K4S
  columns: u32, // vec4 columns of w
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [M, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;          // [M, K4 − A4]
@group(0) @binding(2) var<storage, read> w: array<Elem4>;               // [K4, columns, 4]: blocks of four k of four n
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;  // [parts, M, columns]
@group(0) @binding(4) var<uniform> p: Params;

var<private> part: u32; // of this workgroup; only the epilogue reads it, since its uniformity is not seen

fn columnsOfWeight() -> u32 { return p.columns; }

fn finishPair(m: u32, n4: u32, first: vec4<f32>, second: vec4<f32>) {
  if (!EXACT && m >= p.M) { return; }
  let at = (part * p.M + m) * p.columns + n4;
  if (EXACT || n4 < p.columns) { sums[at] = first; }
  if (EXACT || n4 + 1u < p.columns) { sums[at + 1u] = second; }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  part = group.z;
  let k4 = group.z * p.part4;
  matrixProduct(group.y * TILE_M, group.x * TILE_N4, k4, min(p.part4, p.K4 - k4), lane);
}
