// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, the rows of a shared
// within a subgroup.
//
// GATED: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is values · act(gates):
// every second lane hands its gates to the one before it.
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A subgroup of SG lanes, which is a workgroup, computes 8·EIGHTS rows × SG·COLS vec4 columns of out in registers: for
// every k4 a lane loads its own columns' blocks of w, but only every SG-th row's vec4 of a, and shares that with the
// others. On processors a load per lane is what costs. Lanes beyond the edges work on clamped addresses, since all must
// take part, and store nothing. Accumulation in f32.
//@use storage activation linearOut eights shareEight
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const EIGHTS = 2u;         // 1 … 4
const COLS = 1u;           // 1 or 2: vec4 columns per lane
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
  wAt: u32,     // vec4 of w in front of what the rows are multiplied by
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

// vec4 k4 of a row that starts at `row` of a, and goes on in second as if it had started there at `other`.
fn load(row: u32, other: u32, k4: u32) -> vec4<f32> {
  if (HAS_SECOND && k4 >= p.A4) { return load4(second[other + k4]); }
  return load4(a[row + k4]);
}

fn loadRows(low: vec2<u32>, high: vec2<u32>, k4: u32) -> Rows {
  var y: vec4<f32>;
  if (SG == 4u) { y = load(high.x, high.y, k4); }
  return Rows(load(low.x, low.y, k4), y);
}

// Where row m starts, in a and in second.
fn rowAt(m: u32) -> vec2<u32> {
  let row = min(m, p.M - 1u);
  return vec2<u32>(row * p.A4, row * (p.K4 - p.A4) - p.A4);
}

fn blockAt(at: u32) -> Block {
  return Block(load4(w[at]), load4(w[at + 1u]), load4(w[at + 2u]), load4(w[at + 3u]));
}

// What becomes of one row's sums; all lanes must call it.
fn finishRow(m: u32, column: u32, columns: u32, sums: vec4<f32>) {
  if (GATED) {
    let gates = subgroupShuffleDown(sums, 1u);
    if (column < columns && column % 2u == 0u) { put(m, column / 2u, sums * activate(gates, ACT)); }
  } else if (column < columns) {
    finish(m, column, sums);
  }
}

// The same for all rows of a column.
fn finishRows(m0: u32, column: u32, columns: u32, lane: u32, s0: Eight, s1: Eight, s2: Eight, s3: Eight) {
  var e0 = settle(s0, lane);
  var e1 = s1;
  var e2 = s2;
  var e3 = s3;
  if (EIGHTS > 1u) { e1 = settle(e1, lane); }
  if (EIGHTS > 2u) { e2 = settle(e2, lane); }
  if (EIGHTS > 3u) { e3 = settle(e3, lane); }
  let end = min(m0 + 8u * EIGHTS, p.M);
  for (var m = m0; m < end; m++) {
    finishRow(m, column, columns, e0.s0);
    e0 = shiftEight(e0, e1.s0);
    if (EIGHTS > 1u) { e1 = shiftEight(e1, e2.s0); }
    if (EIGHTS > 2u) { e2 = shiftEight(e2, e3.s0); }
    if (EIGHTS > 3u) { e3 = shiftEight(e3, e3.s0); }
  }
}

// What the sums of a column start with.
fn firstSum(n4: u32) -> vec4<f32> {
  if (HAS_BIAS) { return bias[n4]; }
  return vec4<f32>(0.0);
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  var columns = p.N4;
  if (GATED) { columns *= 2u; }
  let column = group.z * SG * COLS + lane;
  let n4 = min(column, columns - 1u);
  let second4 = min(column + SG, columns - 1u);
  let m0 = (group.x + group.y * groups.x) * 8u * EIGHTS;
  let low0 = rowAt(m0 + lane);
  let high0 = rowAt(m0 + 4u + lane);
  let low1 = rowAt(m0 + 8u + lane);
  let high1 = rowAt(m0 + 12u + lane);
  let low2 = rowAt(m0 + 16u + lane);
  let high2 = rowAt(m0 + 20u + lane);
  let low3 = rowAt(m0 + 24u + lane);
  let high3 = rowAt(m0 + 28u + lane);
  var e0 = eightTimes(firstSum(n4));
  var e1 = e0;
  var e2 = e0;
  var e3 = e0;
  // The second column's, if there is one.
  var f0 = e0;
  if (COLS > 1u) { f0 = eightTimes(firstSum(second4)); }
  var f1 = f0;
  var f2 = f0;
  var f3 = f0;
  var at = p.wAt + n4 * 4u;
  for (var k4 = 0u; k4 < p.K4; k4++) {
    var b: Block;
    var c: Block;
    var r0: Rows;
    var r1: Rows;
    var r2: Rows;
    var r3: Rows;
    // What is used first is loaded last: compilers for processors run out of registers here, and put what came first
    // into memory, eight lanes long, if it is used first.
    b.w3 = load4(w[at + 3u]);
    b.w2 = load4(w[at + 2u]);
    b.w1 = load4(w[at + 1u]);
    b.w0 = load4(w[at]);
    if (COLS > 1u) { c = blockAt(at + (second4 - n4) * 4u); }
    r0 = loadRows(low0, high0, k4);
    if (EIGHTS > 1u) { r1 = loadRows(low1, high1, k4); }
    if (EIGHTS > 2u) { r2 = loadRows(low2, high2, k4); }
    if (EIGHTS > 3u) { r3 = loadRows(low3, high3, k4); }
    at += columns * 4u;
    e0 = shareEight(e0, r0, b);
    if (EIGHTS > 1u) { e1 = shareEight(e1, r1, b); }
    if (EIGHTS > 2u) { e2 = shareEight(e2, r2, b); }
    if (EIGHTS > 3u) { e3 = shareEight(e3, r3, b); }
    if (COLS > 1u) {
      f0 = shareEight(f0, r0, c);
      if (EIGHTS > 1u) { f1 = shareEight(f1, r1, c); }
      if (EIGHTS > 2u) { f2 = shareEight(f2, r2, c); }
      if (EIGHTS > 3u) { f3 = shareEight(f3, r3, c); }
    }
  }
  finishRows(m0, column, columns, lane, e0, e1, e2, e3);
  if (COLS > 1u) { finishRows(m0, column + SG, columns, lane, f0, f1, f2, f3); }
}
