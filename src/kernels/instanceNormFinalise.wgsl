// affine[b, 0 … 2, c] = what is subtracted from a channel, its factor, and what is added:
//   MODE 0: mean, 1 / √(var + eps), 0 (Ulyanov et al. 2016)
//   MODE 1: mean, gamma / √(var + eps), beta + gamma · alpha · m̂, where m̂ = (mean − m) / √(v + eps), and m and v are
//           mean and unbiased variance of the channels' means (Song and Ermon 2019, appendix A)
//   MODE 2: 0, gamma / √(unbiased var + eps), 0
//
// stats [B, K, 2, C4] as groupNormStats leaves them: mean and M2 of K chunks of p.rows pixels, the last with what
// remains of P. A team of LANES invocations takes a batch item; an invocation every LANES-th vec4 of channels, in three
// passes. f32.
//@use team
const WG = 64u;
const LANES = 64u;         // divides WG
const MODE = 0u;

struct Params {
  B: u32,      // batch
  P: u32,      // pixels per batch item
  C: u32,      // channels
  C4: u32,     // vec4 per pixel
  K: u32,      // chunks per batch item
  rows: u32,   // pixels per chunk
  eps: f32,
}

@group(0) @binding(0) var<storage, read> stats: array<vec4<f32>>;           // [B, K, 2, C4]
@group(0) @binding(1) var<storage, read> alpha: array<vec4<f32>>;           // [C4]
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>;           // [C4]
@group(0) @binding(3) var<storage, read> beta: array<vec4<f32>>;            // [C4]
@group(0) @binding(4) var<storage, read_write> affine: array<vec4<f32>>;    // [B, 3, C4]
@group(0) @binding(5) var<uniform> p: Params;

// 1 in lanes that are channels, 0 in padding.
fn channels(c4: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), vec4<f32>(1.0), 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.C));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last item and write nothing.
  let team = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let b = min(team, p.B - 1u);
  let base = b * p.K * 2u * p.C4;
  let to = b * 3u * p.C4;
  let mine = team < p.B;
  var sum = 0.0;
  for (var c4 = lane % LANES; c4 < p.C4; c4 += LANES) {
    // Chan, Golub and LeVeque 1983.
    var n = 0.0;
    var mean = vec4<f32>(0.0);
    var m2 = vec4<f32>(0.0);
    for (var k = 0u; k < p.K; k++) {
      let count = f32(min(p.rows, p.P - k * p.rows));
      let at = base + k * 2u * p.C4 + c4;
      let delta = stats[at] - mean;
      let share = count / (n + count);
      mean += delta * share;
      m2 += stats[at + p.C4] + delta * delta * (n * share);
      n += count;
    }
    sum += dot(mean, channels(c4));
    if (mine) {
      affine[to + c4] = mean;
      affine[to + p.C4 + c4] = m2;
    }
  }
  let m = teamSum(sum, lane) / f32(p.C);
  var spread = 0.0;
  if (mine) {
    for (var c4 = lane % LANES; c4 < p.C4; c4 += LANES) {
      let d = (affine[to + c4] - m) * channels(c4);
      spread += dot(d, d);
    }
  }
  let v = teamSum(spread, lane) / f32(max(p.C, 2u) - 1u);
  if (!mine) { return; }
  for (var c4 = lane % LANES; c4 < p.C4; c4 += LANES) {
    let mean = affine[to + c4];
    let m2 = affine[to + p.C4 + c4];
    let inside = channels(c4);
    var scale = inside / sqrt(m2 / f32(p.P) + p.eps);
    var shift = vec4<f32>(0.0);
    if (MODE == 1u) {
      scale *= gamma[c4];
      shift = beta[c4] + gamma[c4] * alpha[c4] * (mean - m) / sqrt(v + p.eps);
    }
    if (MODE == 2u) {
      affine[to + c4] = vec4<f32>(0.0);
      scale = gamma[c4] / sqrt(m2 / f32(max(p.P, 2u) - 1u) + p.eps);
    }
    affine[to + p.C4 + c4] = scale;
    affine[to + 2u * p.C4 + c4] = shift * inside;
  }
}
