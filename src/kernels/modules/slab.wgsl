// Group norm of a slab of groups by one workgroup: their statistics over all pixels, then `normaliseSlab` writes some
// of the pixels. A slab is p.slab whole groups of one batch item that start on a vec4. Every invocation has one vec4 of
// channels of every team-th pixel, then one channel over the team, then one group over its channels: means and Σ (x −
// mean)² joined as Chan, Golub and LeVeque 1983 do, relative to a first value. f32.
//
// The kernel declares WG (a slab has at most WG channels), NORM_ACT, HAS_GAMMA, HAS_BETA, the bindings gamma and beta
// [C4] and out [B, P, C4]; in Params P pixels per batch item, C channels and C4 vec4 of a pixel, size (channels per
// group), slab, rows (pixels that a workgroup writes), eps, factor (applied last); and valueAt(b, pixel, c4), what is
// normalised.
var<workgroup> means: array<f32, 4 * WG>;
var<workgroup> spreads: array<f32, 4 * WG>;
var<workgroup> counts: array<f32, WG>;

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

// A workgroup's slab, and where an invocation stands in it: vec4 c4 of the channels, member of a team that shares the
// pixels. Those from `team` on have none.
struct Slab { b: u32, channels: u32, width: u32, team: u32, c4: u32, member: u32 }

fn slabOf(group: vec3<u32>, lane: u32) -> Slab {
  let c0 = group.y * p.slab * p.size;
  let channels = min(p.slab * p.size, p.C - c0);
  let width = (channels + 3u) / 4u;
  return Slab(group.z, channels, width, WG / width, c0 / 4u + lane % width, lane / width);
}

// Joins the invocations' moments of a slab, and writes the pixels of workgroup `part` of those that share it. All
// invocations of the workgroup must call it, since it holds barriers.
fn normaliseSlab(s: Slab, m: Moments, part: u32, lane: u32) {
  if (s.member < s.team) {
    counts[s.member] = m.n;
    for (var i = 0u; i < 4u; i++) {
      means[4u * lane + i] = m.mean[i];
      spreads[4u * lane + i] = m.m2[i];
    }
  }
  workgroupBarrier();

  var mean = 0.0;
  var spread = 0.0;
  if (lane < s.channels) {
    let origin = means[lane];
    for (var i = 0u; i < s.team; i++) { mean += counts[i] * (means[4u * i * s.width + lane] - origin); }
    mean = origin + mean / f32(p.P);
    for (var i = 0u; i < s.team; i++) {
      let d = means[4u * i * s.width + lane] - mean;
      spread += spreads[4u * i * s.width + lane] + select(0.0, counts[i] * d * d, counts[i] > 0.0);
    }
  }
  workgroupBarrier();
  if (lane < s.channels) {
    means[lane] = mean;
    spreads[lane] = spread;
  }
  workgroupBarrier();

  let groups = s.channels / p.size;
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

  if (s.member >= s.team) { return; }
  var centre = vec4<f32>(0.0);
  var scale = vec4<f32>(0.0);
  for (var i = 0u; i < 4u; i++) {
    let c = 4u * (lane % s.width) + i;
    if (c < s.channels) {
      centre[i] = means[c / p.size];
      scale[i] = spreads[c / p.size];
    }
  }
  if (HAS_GAMMA) { scale *= gamma[s.c4]; }
  var offset = vec4<f32>(0.0);
  if (HAS_BETA) { offset = beta[s.c4]; }
  let inside = 4u * s.c4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.C);
  let end = min(p.P, (part + 1u) * p.rows);
  for (var pixel = part * p.rows + s.member; pixel < end; pixel += s.team) {
    var v = activate(fma(valueAt(s.b, pixel, s.c4) - centre, scale, offset), NORM_ACT);
    if (NORM_ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, inside); }
    out[(s.b * p.P + pixel) * p.C4 + s.c4] = store4(v * p.factor);
  }
}
