// mean[b, c] and gamma[c] · rstd[b, c] of the group that channel c is in, rstd = 1 / √(Σ M2 / N + eps).
//
// stats [B, K, 2, A] as groupNormStats or a convolution leaves them, and second [B, K, 2, C − A] of channels behind
// those: a map of H rows of W pixels is cut into K chunks of at most high × wide, `across` of them side by side.
// A team of LANES invocations takes one group of one batch item: the weighted mean of its K · C/G channel means, taken
// relative to the first of them, then Σ M2 + n · (mean − group mean)² (Chan, Golub and LeVeque 1983). f32.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use team
const WG = 64u;
const LANES = 64u;         // divides WG
const HAS_GAMMA = true;
const HAS_SECOND = false;

struct Params {
  B: u32,      // batch
  C: u32,      // channels
  stride: u32, // floats per pixel: C rounded up to four
  A: u32,      // floats of them that stats has
  K: u32,      // chunks per batch item
  across: u32, // chunks side by side
  H: u32,      // rows of the map
  W: u32,      // pixels in a row
  high: u32,   // rows per chunk
  wide: u32,   // pixels in a row of a chunk
  G: u32,      // groups
  eps: f32,
}

@group(0) @binding(0) var<storage, read> stats: array<f32>;                 // [B, K, 2, A]: mean, then M2
@group(0) @binding(1) var<storage, read> second: array<f32>;                // [B, K, 2, stride − A]
@group(0) @binding(2) var<storage, read> gamma: array<f32>;                 // [stride]
@group(0) @binding(3) var<storage, read_write> affine: array<f32>;          // [B, 2, stride]: mean, then gamma · rstd
@group(0) @binding(4) var<uniform> p: Params;

// Exact below 2²² chunks; a division of integers takes long on processors.
fn pixelsIn(chunk: u32) -> f32 {
  let line = u32((f32(chunk) + 0.5) / f32(p.across));
  let y = line * p.high;
  let x = (chunk - line * p.across) * p.wide;
  return f32(min(p.high, p.H - y) * min(p.wide, p.W - x));
}

// The mean of channel c over a chunk (what = 0), or its M2 (1).
fn statOf(chunk: u32, c: u32, what: u32) -> f32 {
  if (HAS_SECOND && c >= p.A) {
    let width = p.stride - p.A;
    return second[(chunk * 2u + what) * width + c - p.A];
  }
  return stats[(chunk * 2u + what) * p.A + c];
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
  let c0 = g * size;
  let start = b * p.K;
  let origin = statOf(start, c0, 0u);
  // Every LANES-th place, channels first; counted up instead of divided, since integer division is slow on processors.
  let first = lane % LANES;
  var chunk = first / size;
  var c = first % size;
  var sum = 0.0;
  while (chunk < p.K) {
    sum += pixelsIn(chunk) * (statOf(start + chunk, c0 + c, 0u) - origin);
    chunk += LANES / size;
    c += LANES % size;
    if (c >= size) { c -= size; chunk++; }
  }
  let count = f32(p.H * p.W * size);
  let offset = teamSum(sum, lane) / count;
  chunk = first / size;
  c = first % size;
  var m2 = 0.0;
  while (chunk < p.K) {
    let d = statOf(start + chunk, c0 + c, 0u) - origin - offset;
    m2 += statOf(start + chunk, c0 + c, 1u) + pixelsIn(chunk) * d * d;
    chunk += LANES / size;
    c += LANES % size;
    if (c >= size) { c -= size; chunk++; }
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
