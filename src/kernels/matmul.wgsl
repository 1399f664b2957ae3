// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale
//
// GATED: w and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is values · act(gates).
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// An invocation computes ROWS consecutive rows × one vec4 column of out in registers; a workgroup covers
// WG_N vec4 columns × WG_M·ROWS rows. No workgroup memory: neighbours in n read the same rows of a through the cache.
// Accumulation in f32.
//@use storage activation linearOut
const ROWS = 8u;
const WG_N = 8u;
const WG_M = 8u;
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

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let n4 = gid.x;
  let m0 = gid.y * ROWS;
  if (n4 >= p.N4 || m0 >= p.M) { return; }
  var base: array<u32, ROWS>;
  var after: array<u32, ROWS>;
  var acc: array<vec4<f32>, ROWS>;
  var gates: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    base[r] = min(m0 + r, p.M - 1u) * p.A4;
    after[r] = min(m0 + r, p.M - 1u) * (p.K4 - p.A4);
    acc[r] = vec4<f32>(0.0);
    gates[r] = vec4<f32>(0.0);
  }
  for (var k4 = 0u; k4 < p.K4; k4++) {
    var at = (k4 * p.N4 + n4) * 4u;
    if (GATED) { at *= 2u; }
    let w0 = load4(w[at]);
    let w1 = load4(w[at + 1u]);
    let w2 = load4(w[at + 2u]);
    let w3 = load4(w[at + 3u]);
    for (var r = 0u; r < ROWS; r++) {
      var x: vec4<f32>;
      if (HAS_SECOND && k4 >= p.A4) { x = load4(second[after[r] + k4 - p.A4]); } else { x = load4(a[base[r] + k4]); }
      acc[r] = fma(vec4<f32>(x.x), w0, acc[r]);
      acc[r] = fma(vec4<f32>(x.y), w1, acc[r]);
      acc[r] = fma(vec4<f32>(x.z), w2, acc[r]);
      acc[r] = fma(vec4<f32>(x.w), w3, acc[r]);
      if (GATED) {
        gates[r] = fma(vec4<f32>(x.x), load4(w[at + 4u]), gates[r]);
        gates[r] = fma(vec4<f32>(x.y), load4(w[at + 5u]), gates[r]);
        gates[r] = fma(vec4<f32>(x.z), load4(w[at + 6u]), gates[r]);
        gates[r] = fma(vec4<f32>(x.w), load4(w[at + 7u]), gates[r]);
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let m = m0 + r;
    if (m >= p.M) { return; }
    if (GATED) {
      if (HAS_BIAS) {
        acc[r] += bias[2u * n4];
        gates[r] += bias[2u * n4 + 1u];
      }
      put(m, n4, acc[r] * activate(gates[r], ACT));
    } else {
      if (HAS_BIAS) { acc[r] += bias[n4]; }
      finish(m, n4, acc[r]);
    }
  }
}
