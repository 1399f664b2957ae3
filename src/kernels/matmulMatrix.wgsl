// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, by subgroup matrices:
// halves multiplied, sums in f32.
//
// GATED: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is values · act(gates).
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A workgroup of SUBS_M × SUBS_N subgroups computes MM·ROWS·SUBS_M rows × MN·COLS·SUBS_N columns, each subgroup
// ROWS × COLS matrices, 4·K4S k at a time. EXACT leaves out what guards the edges, for sizes that tiles divide.
//@use storage activation linearOut linearPairs linearPart matrix
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
const HAS_RESIDUAL = false;
const IN_PLACE = false;
const HAS_GATE = false;
const HAS_SECOND = false;
const GATED = false;

struct Params {
  M: u32,       // rows
  K4: u32,      // vec4 per row of a
  A4: u32,      // vec4 of them that are not in second
  N4: u32,      // vec4 per row of out
  N: u32,       // columns of out
  T: u32,       // rows per batch item
  gate4: u32,   // vec4 per row of gate
  gateAt: u32,  // vec4 in front of the gate in it
  scale: f32,   // applied last
  acts: u32,    // 1 where the activation applies
  adds: u32,    // 1 where a residual is added
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [M, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;          // [M, K4 − A4]
@group(0) @binding(2) var<storage, read> w: array<Elem4>;               // [K4, N4, 4]: block (k4, n4), four k of four n
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;        // [N4]
@group(0) @binding(4) var<storage, read> residual: array<Elem4>;        // [M, N4]
@group(0) @binding(5) var<storage, read> gate: array<Elem4>;            // [B, gate4]
@group(0) @binding(6) var<storage, read_write> out: array<Elem4>;       // [M, N4]
@group(0) @binding(7) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  matrixProduct((group.y + group.z * groups.y) * TILE_M, group.x * TILE_N4, 0u, p.K4, lane);
}
