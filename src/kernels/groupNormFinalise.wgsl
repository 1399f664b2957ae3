// mean[b, c] and gamma[c] · rstd[b, c] of the group that channel c is in, rstd = 1 / √(Σ M2 / N + eps).
//
// stats [B, K, 2, C] as groupNormStats leaves them: K chunks of p.rows pixels, the last with what remains of P.
// A team of LANES invocations takes one group of one batch item: the weighted mean of its K · C/G channel means, taken
// relative to the first of them, then Σ M2 + n · (mean − group mean)² (Chan, Golub and LeVeque 1983). f32.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use team
const WG = 64u;
const LANES = 64u;         // divides WG
const HAS_GAMMA = true;

struct Params {
  B: u32,      // batch
  P: u32,      // pixels per batch item
  C: u32,      // channels
  stride: u32, // floats per pixel: C rounded up to four
  K: u32,      // chunks per batch item
  rows: u32,   // pixels per chunk
  G: u32,      // groups
  eps: f32,
}

@group(0) @binding(0) var<storage, read> stats: array<f32>;                 // [B, K, 2, stride]
@group(0) @binding(1) var<storage, read> gamma: array<f32>;                 // [stride]
@group(0) @binding(2) var<storage, read_write> affine: array<f32>;          // [B, 2, stride]: mean, then gamma · rstd
@group(0) @binding(3) var<uniform> p: Params;

fn pixelsIn(chunk: u32) -> f32 {
  return f32(min(p.rows, p.P - chunk * p.rows));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last group and write nothing.
  let team = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let bg = min(team, p.B * p.G - 1u);
  let b = bg / p.G;
  let g = bg % p.G;
  let size = p.C / p.G;
  let base = b * p.K * 2u * p.stride + g * size;
  let items = p.K * size;
  let origin = stats[base];
  var sum = 0.0;
  for (var i = lane % LANES; i < items; i += LANES) {
    let chunk = i / size;
    sum += pixelsIn(chunk) * (stats[base + chunk * 2u * p.stride + i % size] - origin);
  }
  let count = f32(p.P * size);
  let offset = teamSum(sum, lane) / count;
  var m2 = 0.0;
  for (var i = lane % LANES; i < items; i += LANES) {
    let chunk = i / size;
    let at = base + chunk * 2u * p.stride + i % size;
    let d = stats[at] - origin - offset;
    m2 += stats[at + p.stride] + pixelsIn(chunk) * d * d;
  }
  let rstd = 1.0 / sqrt(teamSum(m2, lane) / count + p.eps);
  if (team >= p.B * p.G) { return; }
  let to = b * 2u * p.stride;
  for (var i = lane % LANES; i < size; i += LANES) {
    let c = g * size + i;
    affine[to + c] = origin + offset;
    var scale = rstd;
    if (HAS_GAMMA) { scale *= gamma[c]; }
    affine[to + p.stride + c] = scale;
  }
  if (g == p.G - 1u && lane % LANES == 0u) {
    for (var c = p.C; c < p.stride; c++) {
      affine[to + c] = 0.0;
      affine[to + p.stride + c] = 0.0;
    }
  }
}
