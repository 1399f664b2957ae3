// out[m, n] = (act(Σₖ a[m, k] · w[n, k] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale, by subgroup matrices: halves
// multiplied, sums in f32.
//
// HAS_SECOND: the first A4 vec4 of a row of a lie in a, the others in second.
// a [M, K], w [N, K] packed by `packMatrix` into 4×4 blocks, out [M, N]; rows of all are padded to vec4.
// A workgroup of four subgroups of SG lanes computes 64 rows × 64 columns of out, 32 k at a time, which lie as halves in
// workgroup memory; a subgroup computes 32×32 of them as four 16×16 matrices. Results pass through workgroup memory one matrix
// per subgroup at a time, since which lane holds which element is the driver's secret.
// Takes subgroups for runs of SG consecutive invocations, which is why places that depend on `sub` are the same within one;
// the compiler cannot know.
//@use storage activation linearOut
diagnostic(off, chromium.subgroup_matrix_uniformity);
enable f16;
enable chromium_experimental_subgroup_matrix;
const SG = 32u;
const WG = 128u;           // 4 · SG
const ACT = 0u;
const HAS_BIAS = true;
const HAS_RESIDUAL = false;
const IN_PLACE = false;
const HAS_GATE = false;
const HAS_SECOND = false;

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

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Result = subgroup_matrix_result<f32, 16, 16>;

var<workgroup> rowTile: array<f16, 2048>;          // [64, 32]
var<workgroup> weightTile: array<f16, 2048>;       // [32, 64]
var<workgroup> results: array<f32, 1024>;          // [4 subgroups, 16, 16]

fn rowPart(m: u32, k4: u32) -> vec4<f16> {
  if (k4 >= p.K4) { return vec4<f16>(0.0h); }
  let row = min(m, p.M - 1u);
  if (HAS_SECOND && k4 >= p.A4) { return vec4<f16>(load4(second[row * (p.K4 - p.A4) + k4 - p.A4])); }
  return vec4<f16>(load4(a[row * p.A4 + k4]));
}

fn weightRow(k4: u32, k: u32, n4: u32) -> vec4<f16> {
  return vec4<f16>(load4(w[(min(k4, p.K4 - 1u) * p.N4 + min(n4, p.N4 - 1u)) * 4u + k]));
}

// Brings 32 k, from vec4 `start` on, of 64 rows and 64 columns.
fn stage(m0: u32, n0: u32, start: u32, lane: u32) {
  for (var at = lane; at < 512u; at += WG) {
    let v = rowPart(m0 + at / 8u, start + at % 8u);
    for (var i = 0u; i < 4u; i++) { rowTile[4u * at + i] = v[i]; }
    let u = weightRow(start + at / 64u, at % 4u, n0 + at / 4u % 16u);
    let to = (at / 64u * 4u + at % 4u) * 64u + at / 4u % 16u * 4u;
    for (var i = 0u; i < 4u; i++) { weightTile[to + i] = u[i]; }
  }
}

// Writes the 16×16 results that lie staged for a subgroup: rows from m0, vec4 columns from n0 on.
fn finishStaged(sub: u32, m0: u32, n0: u32, lane: u32) {
  for (var at = lane % SG; at < 64u; at += SG) {
    let m = m0 + at / 4u;
    let n4 = n0 + at % 4u;
    if (m < p.M && n4 < p.N4) {
      let at0 = 256u * sub + 4u * at;
      var v = vec4<f32>(results[at0], results[at0 + 1u], results[at0 + 2u], results[at0 + 3u]);
      if (HAS_BIAS) { v += bias[n4]; }
      finish(m, n4, v);
    }
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let m0 = (group.y + group.z * groups.y) * 64u;
  let n0 = group.x * 16u;
  let sub = lane / SG;
  let row = sub / 2u * 32u;
  let column = sub % 2u * 32u;
  var c00: Result;
  var c01: Result;
  var c10: Result;
  var c11: Result;
  for (var start = 0u; start < p.K4; start += 8u) {
    workgroupBarrier();
    stage(m0, n0, start, lane);
    workgroupBarrier();
    for (var k = 0u; k < 32u; k += 16u) {
      let a0 = subgroupMatrixLoad<Left>(&rowTile, row * 32u + k, false, 32u);
      let a1 = subgroupMatrixLoad<Left>(&rowTile, (row + 16u) * 32u + k, false, 32u);
      let b0 = subgroupMatrixLoad<Right>(&weightTile, k * 64u + column, false, 64u);
      let b1 = subgroupMatrixLoad<Right>(&weightTile, k * 64u + column + 16u, false, 64u);
      c00 = subgroupMatrixMultiplyAccumulate(a0, b0, c00);
      c01 = subgroupMatrixMultiplyAccumulate(a0, b1, c01);
      c10 = subgroupMatrixMultiplyAccumulate(a1, b0, c10);
      c11 = subgroupMatrixMultiplyAccumulate(a1, b1, c11);
    }
  }
  let m = m0 + row;
  let n = n0 + column / 4u;
  subgroupMatrixStore(&results, 256u * sub, c00, false, 16u);
  workgroupBarrier();
  finishStaged(sub, m, n, lane);
  workgroupBarrier();
  subgroupMatrixStore(&results, 256u * sub, c01, false, 16u);
  workgroupBarrier();
  finishStaged(sub, m, n + 4u, lane);
  workgroupBarrier();
  subgroupMatrixStore(&results, 256u * sub, c10, false, 16u);
  workgroupBarrier();
  finishStaged(sub, m + 16u, n, lane);
  workgroupBarrier();
  subgroupMatrixStore(&results, 256u * sub, c11, false, 16u);
  workgroupBarrier();
  finishStaged(sub, m + 16u, n + 4u, lane);
}
