// out[m, n] = (act(Σₖ x[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, x the rows of a behind a
// layer norm: with gamma and beta, or with scale and shift from a condition (`modules/rowNormals.wgsl`). Through
// workgroup memory, in one dispatch: every workgroup finds the mean and variance of its rows first, and normalises what
// it brings in.
//
// GATED, with COLS = 2: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is
// values · act(gates): an invocation takes one of each.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// As `matmulTile.wgsl` has it: WG_M·ROWS rows × WG_N·COLS vec4 columns of out per workgroup. Accumulation in f32.
//@use storage activation linearOut linearTile tile rowNormals
const WG_N = 16u;
const WG_M = 16u;
const ROWS = 8u;
const COLS = 2u;
const K4S = 4u;
const EXACT = false;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_RESIDUAL = false;
const IN_PLACE = false;
const HAS_GATE = false;
const GATED = false;
const HAS_AFFINE = true;
const HAS_VECTORS = false;
const RAGGED = true;
const WG = WG_N * WG_M;

struct Params {
  M: u32,         // rows
  K: u32,         // elements per row of a
  K4: u32,        // vec4 per row of a
  N4: u32,        // vec4 per row of out
  N: u32,         // columns of out
  T: u32,         // rows per batch item
  gate4: u32,     // vec4 per row of gate
  gateAt: u32,    // vec4 in front of the gate in it
  scale: f32,     // applied last
  acts: u32,      // 1 where the activation applies
  adds: u32,      // 1 where a residual is added
  eps: f32,       // of the norm
  itemRows: u32,  // rows per item of vectors
  stride: u32,    // vec4 per row of vectors
  scaleAt: u32,   // vec4 in front of the norm's scale in it
  shiftAt: u32,   // and of its shift
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [M, K4]
@group(0) @binding(1) var<storage, read> affine: array<vec4<f32>>;      // [2, K4]: gamma and beta
@group(0) @binding(2) var<storage, read> vectors: array<Elem4>;         // [B, stride]
@group(0) @binding(3) var<storage, read> w: array<Elem4>;               // [K4, N4, 4]: block (k4, n4), four k of four n
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;        // [N4]
@group(0) @binding(5) var<storage, read> residual: array<Elem4>;        // [M, N4]
@group(0) @binding(6) var<storage, read> gate: array<Elem4>;            // [B, gate4]
@group(0) @binding(7) var<storage, read_write> out: array<Elem4>;       // [M, N4]
@group(0) @binding(8) var<uniform> p: Params;

fn leave(at: u32, v: vec2<f32>) { rowTile[at % (WG * ROW_LOADS)] = vec4<f32>(v, 0.0, 0.0); }

fn left(at: u32) -> vec2<f32> { return rowTile[at % (WG * ROW_LOADS)].xy; }

fn rowPart(m: u32, k4: u32) -> vec4<f32> {
  if (EXACT) { return load4(a[m * p.K4 + k4]); }
  return load4(a[min(m, p.M - 1u) * p.K4 + min(k4, p.K4 - 1u)]);
}

fn staged(v: vec4<f32>, k4: u32, i: u32) -> vec4<f32> { return normalised(v, k4, i); }

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let m0 = (group.y + group.z * groups.y) * WG_M * ROWS;
  let n0 = group.x * WG_N * COLS;
  findNormals(m0, local.y * WG_N + local.x);
  finishTile(m0, n0, local.x, local.y, tileProduct(m0, n0, p.K4, local.x, local.y));
}
