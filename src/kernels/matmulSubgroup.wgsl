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

fn eight(sums: Eight, low: u32, high: u32, k4: u32, b: Block) -> Eight {
  var y: vec4<f32>;
  if (SG == 4u) { y = load(high, k4); }
  return shareEight(sums, load(low, k4), y, b);
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

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  var columns = p.N4;
  if (GATED) { columns *= 2u; }
  let column = group.z * SG + lane;
  let n4 = min(column, columns - 1u);
  let m0 = (group.x + group.y * groups.x) * 8u * EIGHTS;
  let row = min(m0 + lane + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(p.M - 1u));
  let high = min(m0 + 4u + lane + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(p.M - 1u));
  var start = vec4<f32>(0.0);
  if (HAS_BIAS) { start = bias[n4]; }
  var e0 = eightTimes(start);
  var e1 = e0;
  var e2 = e0;
  var e3 = e0;
  var at = n4 * 4u;
  for (var k4 = 0u; k4 < p.K4; k4++) {
    let b = Block(load4(w[at]), load4(w[at + 1u]), load4(w[at + 2u]), load4(w[at + 3u]));
    at += columns * 4u;
    e0 = eight(e0, row.x, high.x, k4, b);
    if (EIGHTS > 1u) { e1 = eight(e1, row.y, high.y, k4, b); }
    if (EIGHTS > 2u) { e2 = eight(e2, row.z, high.z, k4, b); }
    if (EIGHTS > 3u) { e3 = eight(e3, row.w, high.w, k4, b); }
  }
  let end = min(m0 + 8u * EIGHTS, p.M);
  for (var m = m0; m < end; m++) {
    finishRow(m, column, columns, e0.s0);
    e0 = shiftEight(e0, e1.s0);
    if (EIGHTS > 1u) { e1 = shiftEight(e1, e2.s0); }
    if (EIGHTS > 2u) { e2 = shiftEight(e2, e3.s0); }
    if (EIGHTS > 3u) { e3 = shiftEight(e3, e3.s0); }
  }
}
