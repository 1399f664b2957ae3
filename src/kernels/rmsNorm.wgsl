// out[m, d] = in[m, d] / √(mean of in[m, :]² + eps) · gamma[d]  (Zhang & Sennrich 2019, equation 4, with eps).
//
// input, out [M, D4]. A team of LANES invocations takes one row, each every LANES-th vec4 of it: once for the sum of
// squares, once to write. f32. Padding is zero and counts nothing.
// With IN_PLACE the rows stand in out; an invocation overwrites no other vec4 than those it has read last.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use storage team
const WG = 64u;
const LANES = 64u;         // divides WG
const HAS_GAMMA = true;
const IN_PLACE = false;

struct Params {
  M: u32,     // rows
  D: u32,     // elements per row
  D4: u32,    // vec4 per row
  eps: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [M, D4]
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;           // [D4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;           // [M, D4]
@group(0) @binding(3) var<uniform> p: Params;

fn row(i: u32) -> vec4<f32> {
  if (IN_PLACE) { return load4(out[i]); }
  return load4(input[i]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last row and write nothing.
  let team = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let base = min(team, p.M - 1u) * p.D4;
  var squares = vec4<f32>(0.0);
  for (var d4 = lane % LANES; d4 < p.D4; d4 += LANES) {
    let v = row(base + d4);
    squares = fma(v, v, squares);
  }
  let scale = 1.0 / sqrt(teamSum(dot(squares, vec4<f32>(1.0)), lane) / f32(p.D) + p.eps);
  if (team >= p.M) { return; }
  for (var d4 = lane % LANES; d4 < p.D4; d4 += LANES) {
    var v = row(base + d4) * scale;
    if (HAS_GAMMA) { v *= gamma[d4]; }
    out[base + d4] = store4(v);
  }
}
