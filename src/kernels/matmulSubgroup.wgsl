// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, the rows of a shared within a
// subgroup.
//
// GATED: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is values · act(gates): every
// second lane hands its gates to the one before it.
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A subgroup of SG lanes, which is a workgroup, computes 8·EIGHTS rows × SG vec4 columns of out in registers: for every k4 a
// lane loads its own column's block of w, but only every SG-th row's vec4 of a, and hands that to the others by
// subgroupBroadcast or a shuffle. On processors a load per lane is what costs. Lanes beyond the edges work on clamped addresses, since
// all must take part, and store nothing. Accumulation in f32.
//@use storage activation linearOut eights shareEight
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const EIGHTS = 2u;         // 1 … 4
const COLS = 1u;           // 1 or 2
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

// vec4 k4 of a row that starts with row · A4 of a, and goes on in second.
fn load(row: u32, k4: u32) -> vec4<f32> {
  if (HAS_SECOND && k4 >= p.A4) { return load4(second[row * (p.K4 - p.A4) + k4 - p.A4]); }
  return load4(a[row * p.A4 + k4]);
}

// Eight rows: those of lanes 0 … 7 of x where a subgroup has as many, of lanes 0 … 3 of x and y otherwise.
struct Rows { x: vec4<f32>, y: vec4<f32> }

fn rows(low: u32, high: u32, k4: u32) -> Rows {
  var y: vec4<f32>;
  if (SG == 4u) { y = load(high, k4); }
  return Rows(load(low, k4), y);
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
  let row = min(m0 + lane + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(p.M - 1u));
  let high = min(m0 + 4u + lane + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(p.M - 1u));
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
  var at = n4 * 4u;
  for (var k4 = 0u; k4 < p.K4; k4++) {
    let b = blockAt(at);
    var c = b;
    if (COLS > 1u) { c = blockAt(at + (second4 - n4) * 4u); }
    at += columns * 4u;
    let r0 = rows(row.x, high.x, k4);
    e0 = shareEight(e0, r0.x, r0.y, b);
    if (COLS > 1u) { f0 = shareEight(f0, r0.x, r0.y, c); }
    if (EIGHTS > 1u) {
      let r1 = rows(row.y, high.y, k4);
      e1 = shareEight(e1, r1.x, r1.y, b);
      if (COLS > 1u) { f1 = shareEight(f1, r1.x, r1.y, c); }
    }
    if (EIGHTS > 2u) {
      let r2 = rows(row.z, high.z, k4);
      e2 = shareEight(e2, r2.x, r2.y, b);
      if (COLS > 1u) { f2 = shareEight(f2, r2.x, r2.y, c); }
    }
    if (EIGHTS > 3u) {
      let r3 = rows(row.w, high.w, k4);
      e3 = shareEight(e3, r3.x, r3.y, b);
      if (COLS > 1u) { f3 = shareEight(f3, r3.x, r3.y, c); }
    }
  }
  finishRows(m0, column, columns, lane, e0, e1, e2, e3);
  if (COLS > 1u) { finishRows(m0, column + SG, columns, lane, f0, f1, f2, f3); }
}
