// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) + residual[m, n]) · scale, the rows of a shared within a subgroup.
//
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A subgroup of SG lanes computes eight rows × SG vec4 columns of out in registers: for every k4 a lane loads its own
// column's block of w, but only every SG-th row's vec4 of a, and hands that to the others by subgroupBroadcast. On processors
// a load per lane is what costs, and this needs 8 / SG + 4 of them for 128 multiply-adds. The sums have names, since an
// array of them would lie in memory on drivers that do not unroll. A workgroup is SUBS subgroups, one below the other.
// Lanes beyond the edges work on clamped addresses, since all must take part, and store nothing.
// Takes subgroups for runs of SG consecutive invocations. Accumulation in f32.
//@use storage activation
enable subgroups;
const SG = 8u;             // 4 or 8: the width of a subgroup
const SUBS = 1u;
const WG = 8u;             // SG · SUBS
const ACT = 0u;
const HAS_BIAS = true;
const HAS_RESIDUAL = false;

struct Params {
  M: u32,       // rows
  K4: u32,      // vec4 per row of a
  N4: u32,      // vec4 per row of out
  N: u32,       // columns of out
  scale: f32,   // applied last
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [M, K4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [K4, N4, 4]: block (k4, n4) holds four k of four n
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [N4]
@group(0) @binding(3) var<storage, read> residual: array<Elem4>;        // [M, N4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [M, N4]
@group(0) @binding(5) var<uniform> p: Params;

// Rows 4 … 7 are held by lanes 4 … 7 of the same load where a subgroup has eight, by lanes 0 … 3 of a second one otherwise.
const FIFTH = 4u % SG;

// sum + x · (the 4×4 block of rows w0 … w3)
fn madd(sum: vec4<f32>, x: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) -> vec4<f32> {
  return sum + x.x * w0 + x.y * w1 + x.z * w2 + x.w * w3;
}

fn put(m: u32, n4: u32, sum: vec4<f32>) {
  var v = activate(sum, ACT);
  if (ACT == ACT_SIGMOID) {
    v = select(vec4<f32>(0.0), v, 4u * n4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.N));
  }
  if (HAS_RESIDUAL) { v += load4(residual[m * p.N4 + n4]); }
  out[m * p.N4 + n4] = store4(v * p.scale);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let lane = index % SG;
  let column = group.x * SG + lane;
  let n4 = min(column, p.N4 - 1u);
  let m0 = ((group.y + group.z * groups.y) * SUBS + index / SG) * 8u;
  let low = min(m0 + lane, p.M - 1u) * p.K4;
  let high = min(m0 + 4u + lane, p.M - 1u) * p.K4;
  var s0 = vec4<f32>(0.0);
  if (HAS_BIAS) { s0 = bias[n4]; }
  var s1 = s0;
  var s2 = s0;
  var s3 = s0;
  var s4 = s0;
  var s5 = s0;
  var s6 = s0;
  var s7 = s0;
  var at = n4 * 4u;
  for (var k4 = 0u; k4 < p.K4; k4++) {
    let w0 = load4(w[at]);
    let w1 = load4(w[at + 1u]);
    let w2 = load4(w[at + 2u]);
    let w3 = load4(w[at + 3u]);
    at += p.N4 * 4u;
    let x = load4(a[low + k4]);
    var y = x;
    if (SG == 4u) { y = load4(a[high + k4]); }
    s0 = madd(s0, subgroupBroadcast(x, 0u), w0, w1, w2, w3);
    s1 = madd(s1, subgroupBroadcast(x, 1u), w0, w1, w2, w3);
    s2 = madd(s2, subgroupBroadcast(x, 2u), w0, w1, w2, w3);
    s3 = madd(s3, subgroupBroadcast(x, 3u), w0, w1, w2, w3);
    s4 = madd(s4, subgroupBroadcast(y, FIFTH), w0, w1, w2, w3);
    s5 = madd(s5, subgroupBroadcast(y, FIFTH + 1u), w0, w1, w2, w3);
    s6 = madd(s6, subgroupBroadcast(y, FIFTH + 2u), w0, w1, w2, w3);
    s7 = madd(s7, subgroupBroadcast(y, FIFTH + 3u), w0, w1, w2, w3);
  }
  if (column >= p.N4) { return; }
  // A loop of unknown length stays a loop: eight copies of what follows would take longer to compile than all before.
  let end = min(m0 + 8u, p.M);
  var sums = array<vec4<f32>, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var m = m0; m < end; m++) { put(m, n4, sums[m - m0]); }
}
