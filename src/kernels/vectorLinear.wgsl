// out[m, g, n] = post(act(Σₖ x[m, g, k] · w[g, n, k] + bias[g, n]) + residual[m, g, n]): the linear layers g of few
// rows, all of one size, in one dispatch.
//
// x [M, x4], of which layer g reads K4 behind xAt + g·xStep; w [groups, K4, N4, 4], each layer packed by `packMatrix`;
// residual [M, residual4], of which N4 behind residualAt + g·N4 are read; out [M, groups, N4].
// LANES invocations share ROWS rows × one vec4 column of out, each takes every LANES-th k4, and add up what they have
// in workgroup memory: few rows make few columns, which alone would leave a card waiting for its memory.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another. Accumulation in f32.
//@use storage activation
const WG = 64u;
const LANES = 8u;          // divides WG
const ROWS = 1u;
const ACT = 0u;
const POST = 0u;
const HAS_BIAS = true;
const HAS_RESIDUAL = false;

struct Params {
  M: u32,           // rows
  K4: u32,          // vec4 per row that a layer reads
  N4: u32,          // vec4 per row that it writes
  N: u32,           // columns of it
  groups: u32,      // layers
  x4: u32,          // vec4 per row of x
  xAt: u32,         // vec4 in front of what the first layer reads
  xStep: u32,       // vec4 from one layer to the next, 0 where all read the same
  residual4: u32,   // vec4 per row of residual
  residualAt: u32,  // vec4 in front of what the first layer adds
  acts: u32,        // 1 where act applies, so that layers with and without can share a shader
  posts: u32,       // likewise post
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;               // [M, x4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [groups, K4, N4, 4]
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [groups, N4]
@group(0) @binding(3) var<storage, read> residual: array<Elem4>;        // [M, residual4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [M, groups, N4]
@group(0) @binding(5) var<uniform> p: Params;

const COLUMNS = WG / LANES;
var<workgroup> shares: array<vec4<f32>, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = group.x * COLUMNS + lane % COLUMNS;
  let n4 = min(column, p.N4 - 1u);
  let layer = group.y;
  let m0 = group.z * ROWS;
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) { acc[r] = vec4<f32>(0.0); }
  for (var k4 = lane / COLUMNS; k4 < p.K4; k4 += LANES) {
    let at = ((layer * p.K4 + k4) * p.N4 + n4) * 4u;
    let w0 = load4(w[at]);
    let w1 = load4(w[at + 1u]);
    let w2 = load4(w[at + 2u]);
    let w3 = load4(w[at + 3u]);
    for (var r = 0u; r < ROWS; r++) {
      let v = load4(x[min(m0 + r, p.M - 1u) * p.x4 + p.xAt + layer * p.xStep + k4]);
      acc[r] = fma(vec4<f32>(v.x), w0, acc[r]);
      acc[r] = fma(vec4<f32>(v.y), w1, acc[r]);
      acc[r] = fma(vec4<f32>(v.z), w2, acc[r]);
      acc[r] = fma(vec4<f32>(v.w), w3, acc[r]);
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    var sum = acc[r];
    if (LANES > 1u) {
      workgroupBarrier();
      shares[lane] = sum;
      for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if (lane < reach * COLUMNS) { shares[lane] += shares[lane + reach * COLUMNS]; }
      }
      sum = shares[lane % COLUMNS];
    }
    let m = m0 + r;
    if (lane < COLUMNS && column < p.N4 && m < p.M) {
      if (HAS_BIAS) { sum += bias[layer * p.N4 + n4]; }
      sum = select(sum, activate(sum, ACT), p.acts == 1u);
      if (HAS_RESIDUAL) { sum += load4(residual[m * p.residual4 + p.residualAt + layer * p.N4 + n4]); }
      sum = select(sum, activate(sum, POST), p.posts == 1u);
      // The only activation that makes padding lanes non-zero.
      if (ACT == ACT_SIGMOID || POST == ACT_SIGMOID) {
        sum = select(vec4<f32>(0.0), sum, 4u * n4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.N));
      }
      out[(m * p.groups + layer) * p.N4 + n4] = store4(sum);
    }
  }
}
