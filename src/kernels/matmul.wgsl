// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) + residual[m, n]) · scale
//
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// An invocation computes ROWS consecutive rows × one vec4 column of out in registers; a workgroup covers
// WG_N vec4 columns × WG_M·ROWS rows. No workgroup memory: neighbours in n read the same rows of a through the cache.
// Accumulation in f32.
//@use storage activation
const ROWS = 8u;
const WG_N = 8u;
const WG_M = 8u;
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

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let n4 = gid.x;
  let m0 = gid.y * ROWS;
  if (n4 >= p.N4 || m0 >= p.M) { return; }
  var base: array<u32, ROWS>;
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    base[r] = min(m0 + r, p.M - 1u) * p.K4;
    acc[r] = vec4<f32>(0.0);
  }
  for (var k4 = 0u; k4 < p.K4; k4++) {
    let at = (k4 * p.N4 + n4) * 4u;
    let w0 = load4(w[at]);
    let w1 = load4(w[at + 1u]);
    let w2 = load4(w[at + 2u]);
    let w3 = load4(w[at + 3u]);
    for (var r = 0u; r < ROWS; r++) {
      let x = load4(a[base[r] + k4]);
      acc[r] = fma(vec4<f32>(x.x), w0, acc[r]);
      acc[r] = fma(vec4<f32>(x.y), w1, acc[r]);
      acc[r] = fma(vec4<f32>(x.z), w2, acc[r]);
      acc[r] = fma(vec4<f32>(x.w), w3, acc[r]);
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let m = m0 + r;
    if (m >= p.M) { return; }
    var v = acc[r];
    if (HAS_BIAS) { v += bias[n4]; }
    v = activate(v, ACT);
    // The only activation that makes padding lanes non-zero.
    if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * n4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.N)); }
    if (HAS_RESIDUAL) { v += load4(residual[m * p.N4 + n4]); }
    out[m * p.N4 + n4] = store4(v * p.scale);
  }
}
