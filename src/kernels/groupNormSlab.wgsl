// out[b, i, c] = act((in[b, i, c] − mean) / √(var + eps) · gamma[c] + beta[c]) · factor, mean and var of the group that
// channel c is in, with the statistics and their use in one dispatch.
//
// input [B, P, A4] and second [B, P, C4 − A4], the channels of the one in front of those of the other; out [B, P, C4].
// A workgroup owns a slab, `slab` whole groups of one batch item that start on a vec4, and writes p.rows pixels of it.
// It needs the statistics of all pixels first: workgroups that share a slab each gather them, which costs reads that
// lie in the cache, and saves a dispatch. Where a map is too large for that, FROM_STATS takes chunks of pixels as
// groupNormStats leaves them: stats [B, K, 2, C4], K chunks of p.chunk pixels. How moments are joined and applied:
// `modules/slab.wgsl`. f32.
//@use storage activation slab
const WG = 256u;
const NORM_ACT = 0u;
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

fn valueAt(b: u32, pixel: u32, c4: u32) -> vec4<f32> {
  let row = b * p.P + pixel;
  if (HAS_SECOND && c4 >= p.A4) { return load4(second[row * (p.C4 - p.A4) + c4 - p.A4]); }
  return load4(input[row * p.A4 + c4]);
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
  let s = slabOf(group, lane);
  var m: Moments;
  if (s.member < s.team) {
    if (FROM_STATS) { m = overChunks(s.b, s.c4, s.member, s.team); }
    else { m = overPixels(s.b, s.c4, s.member, s.team); }
  }
  normaliseSlab(s, m, group.x, lane);
}
