// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, through workgroup memory.
//
// GATED, with COLS = 2: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is values ·
// act(gates): an invocation takes one of each.
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A workgroup of WG_N × WG_M invocations computes WG_M·ROWS rows × WG_N·COLS vec4 columns of out, each invocation ROWS × COLS
// of them in registers. EXACT leaves out what guards the edges, for sizes that tiles divide. Accumulation in f32.
//@use storage activation linearOut tile
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
@group(0) @binding(2) var<storage, read> w: array<Elem4>;               // [K4, N4, 4]: block (k4, n4) holds four k of four n
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

fn weightRow(k4: u32, k: u32, n4: u32) -> vec4<f32> {
  var column = n4;
  var columns = p.N4;
  if (GATED) {
    let i = n4 % (2u * WG_N);
    column = n4 - i + 2u * (i % WG_N) + i / WG_N;
    columns *= 2u;
  }
  if (EXACT) { return load4(w[(k4 * columns + column) * 4u + k]); }
  return load4(w[(min(k4, p.K4 - 1u) * columns + min(column, columns - 1u)) * 4u + k]);
}

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let m0 = (group.y + group.z * groups.y) * WG_M * ROWS;
  let n0 = group.x * WG_N * COLS;
  let sums = tileProduct(m0, n0, p.K4, local.x, local.y);
  if (GATED) {
    let n4 = n0 / 2u + local.x;
    if (!EXACT && n4 >= p.N4) { return; }
    var values = vec4<f32>(0.0);
    var gates = vec4<f32>(0.0);
    if (HAS_BIAS) {
      values = bias[2u * n4];
      gates = bias[2u * n4 + 1u];
    }
    for (var r = 0u; r < ROWS; r++) {
      let m = m0 + local.y * ROWS + r;
      if (EXACT || m < p.M) {
        put(m, n4, (sums[r * COLS] + values) * activate(sums[r * COLS + COLS - 1u] + gates, ACT));
      }
    }
    return;
  }
  for (var c = 0u; c < COLS; c++) {
    let n4 = n0 + c * WG_N + local.x;
    if (!EXACT && n4 >= p.N4) { continue; }
    var start = vec4<f32>(0.0);
    if (HAS_BIAS) { start = bias[n4]; }
    for (var r = 0u; r < ROWS; r++) {
      let m = m0 + local.y * ROWS + r;
      if (EXACT || m < p.M) { finish(m, n4, sums[r * COLS + c] + start); }
    }
  }
}
