// out[m, d] = (in[m, d] − mean[m]) / √(var[m] + eps) · gamma[d] + beta[d], mean and var over the D elements of a row.
//
// input, out [M, D4]. A team of LANES invocations takes one row, each every LANES-th vec4 of it, for the moments as
// `teamMoments` does and once more to write. f32.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use storage team teamMoments
const WG = 64u;
const LANES = 64u;         // divides WG
const HAS_GAMMA = true;
const HAS_BETA = true;

struct Params {
  M: u32,     // rows
  D: u32,     // elements per row
  D4: u32,    // vec4 per row
  eps: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [M, D4]
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;           // [D4]
@group(0) @binding(2) var<storage, read> beta: array<vec4<f32>>;            // [D4]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;           // [M, D4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last row and write nothing.
  let team = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let base = min(team, p.M - 1u) * p.D4;
  // Every index is checked against the length of its array. Lengths are asked for here, once; otherwise some drivers
  // divide to find one at each access.
  let shortest = min(min(arrayLength(&input), arrayLength(&out)), min(arrayLength(&gamma), arrayLength(&beta)));
  let at = teamNormal(base, p.D, p.eps, lane);
  if (team >= p.M || shortest == 0u) { return; }
  for (var d4 = lane % LANES; d4 < p.D4; d4 += LANES) {
    var v = (load4(input[base + d4]) - at.x) * at.y;
    if (HAS_GAMMA) { v *= gamma[d4]; }
    if (HAS_BETA) { v += beta[d4]; }
    out[base + d4] = store4(cleared(v, d4, p.D));
  }
}
