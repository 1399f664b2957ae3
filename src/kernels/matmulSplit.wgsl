// sums[s, m, n] = Σₖ a[m, k] · w[n, k] over the k of part s: the first of two passes of a product whose rows and
// columns are too few to keep a card busy, while its sums are long. `matmulJoin` adds the parts up.
//
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, sums [parts, M, columns] f32; rows of all are padded to
// vec4. An invocation computes ROWS consecutive rows × one vec4 column of one part in registers; a workgroup covers
// WG_N vec4 columns × WG_M·ROWS rows. Accumulation in f32.
//@use storage
const ROWS = 4u;
const WG_N = 8u;
const WG_M = 8u;
const HAS_SECOND = false;

struct Params {
  M: u32,         // rows
  K4: u32,        // vec4 per row of a
  A4: u32,        // vec4 of them that are not in second
  part4: u32,     // vec4 of them in a part
  columns: u32,   // vec4 columns of w
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;                     // [M, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;                // [M, K4 − A4]
@group(0) @binding(2) var<storage, read> w: array<Elem4>;                     // [K4, columns, 4], four k of four n
@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;        // [parts, M, columns]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(global_invocation_id) gid: vec3<u32>) {
  let n4 = gid.x;
  let m0 = gid.y * ROWS;
  if (n4 >= p.columns || m0 >= p.M) { return; }
  let end = min((group.z + 1u) * p.part4, p.K4);
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) { acc[r] = vec4<f32>(0.0); }
  for (var k4 = group.z * p.part4; k4 < end; k4++) {
    let at = (k4 * p.columns + n4) * 4u;
    let w0 = load4(w[at]);
    let w1 = load4(w[at + 1u]);
    let w2 = load4(w[at + 2u]);
    let w3 = load4(w[at + 3u]);
    for (var r = 0u; r < ROWS; r++) {
      let m = min(m0 + r, p.M - 1u);
      var x: vec4<f32>;
      if (HAS_SECOND && k4 >= p.A4) { x = load4(second[m * (p.K4 - p.A4) + k4 - p.A4]); } else { x = load4(a[m * p.A4 + k4]); }
      acc[r] = fma(vec4<f32>(x.x), w0, acc[r]);
      acc[r] = fma(vec4<f32>(x.y), w1, acc[r]);
      acc[r] = fma(vec4<f32>(x.z), w2, acc[r]);
      acc[r] = fma(vec4<f32>(x.w), w3, acc[r]);
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let m = m0 + r;
    if (m >= p.M) { return; }
    sums[(group.z * p.M + m) * p.columns + n4] = acc[r];
  }
}
