// out[b, i, c] = act((in[b, i, c] − mean) / √(var + eps) · gamma[c] + beta[c]) · factor, mean and var of the group that
// channel c is in, in one dispatch without a barrier: for processors, where a dispatch is dear.
//
// input [B, P, A4] and second [B, P, C4 − A4], the channels of the one in front of those of the other; out [B, P, C4].
// A subgroup of SG lanes, which is a workgroup, owns a slab: p.slab whole groups of a batch item, at most SG, that
// start on a vec4. p.across lanes stand side by side on its columns of vec4, the others on the pixels below, until all
// is read. First the moments of each channel, pixel by pixel (Welford 1962) or FOURS at a time about their own mean,
// relative to the first, so that a mean far above the deviation costs no precision; fours, and lanes of one column,
// join theirs (Chan, Golub and LeVeque 1983); lane g then keeps what channels of group g come to. Then all is read once
// more and written, as long as it lies in the cache. f32.
// One shader serves norms with their activation and without; without beta, zeros are bound.
//@use storage activation
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const ACT = 0u;
const HAS_SECOND = false;
const FOURS = false;       // moments of four pixels at a time: for drivers that keep what a loop changes in memory
const AHEAD = true;        // values are activated a round after they were read

struct Params {
  B: u32,       // batch
  P: u32,       // pixels per batch item
  C: u32,       // channels
  G: u32,       // groups
  C4: u32,      // vec4 per pixel of out
  A4: u32,      // vec4 of them that lie in input
  size: u32,    // channels per group
  slab: u32,    // groups per workgroup; slab · size is a multiple of four, or all channels
  across: u32,  // lanes side by side: a power of two, at most SG
  scaled: u32,  // 1: gamma is bound
  acts: u32,    // 1: act is applied
  eps: f32,
  factor: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, P, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;              // [B, P, C4 − A4]
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>;           // [C4]
@group(0) @binding(3) var<storage, read> beta: array<vec4<f32>>;            // [C4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;           // [B, P, C4]
@group(0) @binding(5) var<uniform> p: Params;

// What a lane reads of a column: vec4 from `at` on, every `step`-th, up to `end`.
struct Run { behind: bool, at: u32, step: u32, end: u32 }

// Of column c4 of batch item b, pixels first, first + every …; nothing where the column is none.
fn runOf(b: u32, c4: u32, columns: u32, first: u32, every: u32) -> Run {
  let behind = HAS_SECOND && c4 >= p.A4;
  let width = select(p.A4, p.C4 - p.A4, behind);
  let column = select(c4, c4 - p.A4, behind);
  let start = b * p.P * width + column;
  return Run(behind, start + first * width, every * width, start + select(0u, p.P * width, c4 < columns));
}

fn valueAt(at: u32, behind: bool) -> vec4<f32> {
  if (HAS_SECOND && behind) { return load4(second[at]); }
  return load4(input[at]);
}

// Number, mean and Σ (x − mean)² of four channels each.
struct Moments { n: f32, mean: vec4<f32>, m2: vec4<f32> }

fn momentsOf(run: Run) -> Moments {
  var n = 0.0;
  var origin = vec4<f32>(0.0);
  var mean = vec4<f32>(0.0);
  var m2 = vec4<f32>(0.0);
  var at = run.at;
  if (FOURS && at + 3u * run.step < run.end) {
    loop {
      let first = valueAt(at, run.behind);
      origin = select(origin, first, n == 0.0);
      var d0 = first - origin;
      var d1 = valueAt(at + run.step, run.behind) - origin;
      var d2 = valueAt(at + 2u * run.step, run.behind) - origin;
      var d3 = valueAt(at + 3u * run.step, run.behind) - origin;
      let local = 0.25 * (d0 + d1 + d2 + d3);
      d0 -= local;
      d1 -= local;
      d2 -= local;
      d3 -= local;
      let delta = local - mean;
      let share = 4.0 / (n + 4.0);
      mean += delta * share;
      m2 += d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3 + delta * delta * (n * share);
      n += 4.0;
      continuing { at += 4u * run.step; break if at + 3u * run.step >= run.end; }
    }
  }
  if (at < run.end) {
    loop {
      let v = valueAt(at, run.behind);
      origin = select(origin, v, n == 0.0);
      let off = v - origin - mean;
      n += 1.0;
      mean += off * (1.0 / n);
      m2 += off * (v - origin - mean);
      continuing { at += run.step; break if at >= run.end; }
    }
  }
  return Moments(n, origin + mean, m2);
}

fn joined(a: Moments, b: Moments) -> Moments {
  let n = a.n + b.n;
  let share = b.n / max(n, 1.0);
  let delta = b.mean - a.mean;
  // The mean of no pixel is none.
  let mean = select(select(a.mean + delta * share, a.mean, b.n == 0.0), b.mean, a.n == 0.0);
  return Moments(n, mean, a.m2 + b.m2 + delta * delta * (a.n * share));
}

// What four lanes have.
fn ofLanes(v: f32, lanes: vec4<u32>) -> vec4<f32> {
  return vec4<f32>(
    subgroupShuffle(v, lanes.x), subgroupShuffle(v, lanes.y), subgroupShuffle(v, lanes.z), subgroupShuffle(v, lanes.w));
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let b = group.y;
  let c0 = group.x * p.slab * p.size;
  let width = (min(p.slab * p.size, p.C - c0) + 3u) / 4u;
  let below = lane / p.across;
  let every = SG / p.across;
  // Every index is checked against the length of its array. Lengths are asked for here, once; otherwise some drivers
  // divide to find one at each access.
  let shortest = min(min(arrayLength(&input), arrayLength(&second)), arrayLength(&out));
  let columns = select(0u, p.C4, shortest > 0u);

  // Of group `lane`, whose channels start at c0 + start: channels found, their mean and Σ (x − mean)².
  let start = lane * p.size;
  var found = 0.0;
  var centre = 0.0;
  var spread = 0.0;
  for (var first = 0u; first < width; first += p.across) {
    var m = momentsOf(runOf(b, c0 / 4u + first + lane % p.across, columns, below, every));
    for (var reach = p.across; reach < SG; reach *= 2u) {
      let mean = subgroupShuffleXor(m.mean, reach);
      m = joined(m, Moments(subgroupShuffleXor(m.n, reach), mean, subgroupShuffleXor(m.m2, reach)));
    }
    for (var k = 0u; k < p.across; k++) {
      let mean = subgroupShuffle(m.mean, k);
      let m2 = subgroupShuffle(m.m2, k);
      for (var i = 0u; i < 4u; i++) {
        if (4u * (first + k) + i - start < p.size) {
          let off = mean[i] - centre;
          found += 1.0;
          centre += off / found;
          spread += m2[i] + f32(p.P) * (off * (mean[i] - centre));
        }
      }
    }
  }
  let rstd = 1.0 / sqrt(spread / (f32(p.P) * f32(p.size)) + p.eps);

  for (var first = 0u; first < width; first += p.across) {
    let c4 = c0 / 4u + first + lane % p.across;
    let channels = 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = channels < vec4<u32>(p.C);
    // Exact below 2²² channels; divisions of integers are dear on processors.
    let slots = vec4<u32>((vec4<f32>(channels - c0) + 0.5) / f32(p.size));
    let mean = ofLanes(centre, slots);
    var scale = ofLanes(rstd, slots);
    let run = runOf(b, c4, columns, below, every);
    scale *= select(vec4<f32>(1.0), gamma[c4], p.scaled == 1u);
    scale = select(vec4<f32>(0.0), scale, inside);
    let origin = select(vec4<f32>(0.0), mean, inside);
    let shift = beta[c4];
    let acts = p.acts == 1u;
    let factor = p.factor;
    // With AHEAD, a round writes what the round before has read: an activation takes long from end to end, and so
    // overlaps the next loads.
    let step = every * p.C4;
    let last = run.end + select(0u, run.step, AHEAD);
    var at = run.at;
    var to = (b * p.P + below) * p.C4 + c4 - select(0u, step, AHEAD);
    var normal = vec4<f32>(0.0);
    var v = vec4<f32>(0.0);
    if (at < run.end) {
      loop {
        if (AHEAD) { v = select(normal, activate(normal, ACT), acts); }
        normal = (valueAt(at, run.behind) - origin) * scale + shift;
        if (!AHEAD) { v = select(normal, activate(normal, ACT), acts); }
        if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, inside); }
        if (!AHEAD) { out[to] = store4(v * factor); }
        if (AHEAD && at != run.at) { out[to] = store4(v * factor); }
        continuing { at += run.step; to += step; break if at >= last; }
      }
    }
  }
}
