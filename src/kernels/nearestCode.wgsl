// out[m] = the k that minimises Σ (x[m, :] − codebook[k, :])², the lowest of several; or, with DISTANCE, that minimum
// itself.
//
// x [M, D4], codebook [K, D4] f32, out [M] u32, or the bits of f32. A team of LANES invocations takes one row, each
// every LANES-th code; then the team agrees by a tree over workgroup memory. Differences are squared as they are,
// without ‖x‖² − 2x·e + ‖e‖², so that near codes are told apart. f32.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use storage
const WG = 64u;
const LANES = 16u;         // divides WG
const DISTANCE = false;

struct Params {
  M: u32,     // rows
  K: u32,     // codes
  D4: u32,    // vec4 per row and code
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;                   // [M, D4]
@group(0) @binding(1) var<storage, read> codebook: array<vec4<f32>>;        // [K, D4]
@group(0) @binding(2) var<storage, read_write> out: array<u32>;             // [M]
@group(0) @binding(3) var<uniform> p: Params;

var<workgroup> distances: array<f32, WG>;
var<workgroup> codes: array<u32, WG>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last row and write nothing.
  let row = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let base = min(row, p.M - 1u) * p.D4;
  var least = 3.4e38;
  var code = p.K - 1u;
  for (var k = lane % LANES; k < p.K; k += LANES) {
    var squares = vec4<f32>(0.0);
    for (var d4 = 0u; d4 < p.D4; d4++) {
      let e = load4(x[base + d4]) - codebook[k * p.D4 + d4];
      squares = fma(e, e, squares);
    }
    let distance = dot(squares, vec4<f32>(1.0));
    if (distance < least) {
      least = distance;
      code = k;
    }
  }
  if (LANES > 1u) {
    distances[lane] = least;
    codes[lane] = code;
    for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
      workgroupBarrier();
      if (lane % LANES < reach) {
        let d = distances[lane + reach];
        let k = codes[lane + reach];
        if (d < distances[lane] || (d == distances[lane] && k < codes[lane])) {
          distances[lane] = d;
          codes[lane] = k;
        }
      }
    }
    least = distances[lane];
    code = codes[lane];
  }
  if (row >= p.M || lane % LANES != 0u) { return; }
  if (DISTANCE) { out[row] = bitcast<u32>(least); } else { out[row] = code; }
}
