// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, through workgroup
// memory.
//
// GATED, with COLS = 2: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is
// values · act(gates): an invocation takes one of each.
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A workgroup of WG_N × WG_M invocations computes WG_M·ROWS rows × WG_N·COLS vec4 columns of out, each invocation
// ROWS × COLS of them in registers. EXACT leaves out what guards the edges, for sizes that tiles divide. Accumulation
// in f32.
//@use storage activation linearOut linearTile tile
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

fn rowPart(m: u32, k4: u32) -> vec4<f32> {
  if (!EXACT && k4 >= p.K4) { return vec4<f32>(0.0); }
  var row = m;
  if (!EXACT) { row = min(m, p.M - 1u); }
  if (HAS_SECOND && k4 >= p.A4) { return load4(second[row * (p.K4 - p.A4) + k4 - p.A4]); }
  return load4(a[row * p.A4 + k4]);
}

fn staged(v: vec4<f32>, k4: u32, i: u32) -> vec4<f32> { return v; }

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let m0 = (group.y + group.z * groups.y) * WG_M * ROWS;
  let n0 = group.x * WG_N * COLS;
  finishTile(m0, n0, local.x, local.y, tileProduct(m0, n0, p.K4, local.x, local.y));
}
