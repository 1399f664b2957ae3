// out[b, i, c] = act((in[b, i, c] − mean) / √(var + eps) · gamma[c] + beta[c]) · factor, mean and var of the group that channel
// c is in, with the statistics and their use in one dispatch.
//
// input [B, P, A4] and second [B, P, C4 − A4], the channels of the one in front of those of the other; out [B, P, C4].
// A workgroup owns a slab, `slab` whole groups of one batch item that start on a vec4, and writes p.rows pixels of it. It needs
// the statistics of all pixels first: workgroups that share a slab each gather them, which costs reads that lie in the
// cache, and saves a dispatch. Where a map is too large for that, FROM_STATS takes chunks of pixels as groupNormStats leaves
// them: stats [B, K, 2, C4], K chunks of p.chunk pixels.
// First every invocation takes one vec4 of channels of every team-th pixel (or chunk), then one channel over the team, then
// one group over its channels: means and Σ (x − mean)² joined as Chan, Golub and LeVeque 1983 do, relative to a first value.
// f32.
//@use storage activation
const WG = 256u;
const ACT = 0u;
const HAS_GAMMA = true;
const HAS_BETA = true;
const HAS_SECOND = false;
const FROM_STATS = false;

struct Params {
  B: u32,      // batch
  P: u32,      // pixels per batch item
  C: u32,      // channels
  C4: u32,     // vec4 per pixel of out
  A4: u32,     // vec4 of them that lie in input
  G: u32,      // groups
  size: u32,   // channels per group
  slab: u32,   // groups per workgroup; slab · size is a multiple of four and at most WG
  rows: u32,   // pixels that a workgroup writes
  K: u32,      // chunks per batch item
  chunk: u32,  // pixels per chunk
  eps: f32,
  factor: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, P, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;              // [B, P, C4 − A4]
@group(0) @binding(2) var<storage, read> stats: array<vec4<f32>>;           // [B, K, 2, C4]
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;           // [C4]
@group(0) @binding(4) var<storage, read> beta: array<vec4<f32>>;            // [C4]
@group(0) @binding(5) var<storage, read_write> out: array<Elem4>;           // [B, P, C4]
@group(0) @binding(6) var<uniform> p: Params;

var<workgroup> means: array<f32, 4 * WG>;
var<workgroup> spreads: array<f32, 4 * WG>;
var<workgroup> counts: array<f32, WG>;

fn valueAt(b: u32, pixel: u32, c4: u32) -> vec4<f32> {
  let row = b * p.P + pixel;
  if (HAS_SECOND && c4 >= p.A4) { return load4(second[row * (p.C4 - p.A4) + c4 - p.A4]); }
  return load4(input[row * p.A4 + c4]);
}

// Number, mean and Σ (x − mean)² of four channels each.
struct Moments { n: f32, mean: vec4<f32>, m2: vec4<f32> }

fn joined(a: Moments, n: f32, mean: vec4<f32>, m2: vec4<f32>) -> Moments {
  let delta = mean - a.mean;
  let share = n / (a.n + n);
  return Moments(a.n + n, fma(delta, vec4<f32>(share), a.mean), a.m2 + m2 + delta * delta * (a.n * share));
}

// Over pixels first, first + step …, four at a time: two-pass within the four.
fn overPixels(b: u32, c4: u32, first: u32, step: u32) -> Moments {
  var all = Moments(0.0, vec4<f32>(0.0), vec4<f32>(0.0));
  if (first >= p.P) { return all; }
  let origin = valueAt(b, first, c4);
  for (var pixel = first; pixel < p.P; pixel += 4u * step) {
    var d: array<vec4<f32>, 4>;
    var sum = vec4<f32>(0.0);
    for (var j = 0u; j < 4u; j++) {
      d[j] = valueAt(b, min(pixel + j * step, p.P - 1u), c4) - origin;
      sum += select(vec4<f32>(0.0), d[j], pixel + j * step < p.P);
    }
    let n = f32(min((p.P - pixel + step - 1u) / step, 4u));
    let mean = sum / n;
    var m2 = vec4<f32>(0.0);
    for (var j = 0u; j < 4u; j++) {
      let e = select(vec4<f32>(0.0), d[j] - mean, pixel + j * step < p.P);
      m2 = fma(e, e, m2);
    }
    all = joined(all, n, mean, m2);
  }
  all.mean += origin;
  return all;
}

fn overChunks(b: u32, c4: u32, first: u32, step: u32) -> Moments {
  var all = Moments(0.0, vec4<f32>(0.0), vec4<f32>(0.0));
  if (first >= p.K) { return all; }
  let origin = stats[(b * p.K + first) * 2u * p.C4 + c4];
  for (var k = first; k < p.K; k += step) {
    let at = (b * p.K + k) * 2u * p.C4 + c4;
    all = joined(all, f32(min(p.chunk, p.P - k * p.chunk)), stats[at] - origin, stats[at + p.C4]);
  }
  all.mean += origin;
  return all;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let b = group.z;
  let c0 = group.y * p.slab * p.size;
  let channels = min(p.slab * p.size, p.C - c0);
  let width = (channels + 3u) / 4u;
  let team = WG / width;
  let c4 = c0 / 4u + lane % width;
  let member = lane / width;

  if (member < team) {
    var m: Moments;
    if (FROM_STATS) { m = overChunks(b, c4, member, team); } else { m = overPixels(b, c4, member, team); }
    counts[member] = m.n;
    for (var i = 0u; i < 4u; i++) {
      means[4u * lane + i] = m.mean[i];
      spreads[4u * lane + i] = m.m2[i];
    }
  }
  workgroupBarrier();

  var mean = 0.0;
  var spread = 0.0;
  if (lane < channels) {
    let origin = means[lane];
    for (var i = 0u; i < team; i++) { mean += counts[i] * (means[4u * i * width + lane] - origin); }
    mean = origin + mean / f32(p.P);
    for (var i = 0u; i < team; i++) {
      let d = means[4u * i * width + lane] - mean;
      spread += spreads[4u * i * width + lane] + select(0.0, counts[i] * d * d, counts[i] > 0.0);
    }
  }
  workgroupBarrier();
  if (lane < channels) {
    means[lane] = mean;
    spreads[lane] = spread;
  }
  workgroupBarrier();

  let groups = channels / p.size;
  var rstd = 0.0;
  if (lane < groups) {
    let origin = means[lane * p.size];
    mean = 0.0;
    for (var i = 0u; i < p.size; i++) { mean += means[lane * p.size + i] - origin; }
    mean = origin + mean / f32(p.size);
    spread = 0.0;
    for (var i = 0u; i < p.size; i++) {
      let d = means[lane * p.size + i] - mean;
      spread += spreads[lane * p.size + i] + f32(p.P) * d * d;
    }
    rstd = 1.0 / sqrt(spread / (f32(p.P) * f32(p.size)) + p.eps);
  }
  workgroupBarrier();
  if (lane < groups) {
    means[lane] = mean;
    spreads[lane] = rstd;
  }
  workgroupBarrier();

  if (member >= team) { return; }
  var centre = vec4<f32>(0.0);
  var scale = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    let c = 4u * (lane % width) + i;
    if (c < channels) {
      centre[i] = means[c / p.size];
      scale[i] = spreads[c / p.size];
    }
  }
  if (HAS_GAMMA) { scale *= gamma[c4]; }
  var shift = vec4<f32>(0.0);
  if (HAS_BETA) { shift = beta[c4]; }
  let inside = 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.C);
  let end = min(p.P, (group.x + 1u) * p.rows);
  for (var pixel = group.x * p.rows + member; pixel < end; pixel += team) {
    var v = activate(fma(valueAt(b, pixel, c4) - centre, scale, shift), ACT);
    if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, inside); }
    out[(b * p.P + pixel) * p.C4 + c4] = store4(v * p.factor);
  }
}
