// out[b, t, h, :] = Σₛ softmaxₛ(scale · q[b, t, h, :]·k[b, s, h, :] + mask[b, h, t, s]) · v[b, s, h, :], one invocation
// per row.
//
// q, out [B, T, heads, D4], k, v [B, S, heads, D4], mask [B or 1, heads or 1, T or 1, S]. An invocation owns ROWS
// consecutive queries of one head: q and the output accumulator stay in registers, four keys are taken at a time, and
// the softmax is kept online (running maximum and sum; Milakov & Gimelshein 2018, Dao et al. 2022). No workgroup
// memory, no barrier; neighbours read the same keys through the cache. Scores, softmax and output are accumulated in
// f32. For heads of up to 128 channels.
//@use storage exponential score
const WG = 64u;
const ROWS = 1u;
const D4 = 8u;
const HAS_MASK = false;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  S: u32,           // keys
  heads: u32,
  scale: f32,
  maskBatch: u32,   // elements of mask from one batch item to the next; 0 when shared
  maskHead: u32,    // elements of mask from one head to the next; 0 when shared
  maskRow: u32,     // elements of mask from one query to the next; 0 when shared
  q4: u32,          // vec4 per row of the tensor that holds q, and in front of q in it; likewise k and v
  qAt: u32,
  k4: u32,
  kAt: u32,
  v4: u32,
  vAt: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Elem4>;               // [B, T, q4], of which [heads, D4] behind qAt
@group(0) @binding(1) var<storage, read> k: array<Elem4>;               // [B, S, k4]
@group(0) @binding(2) var<storage, read> v: array<Elem4>;               // [B, S, v4]
@group(0) @binding(3) var<storage, read> mask: array<f32>;              // [B|1, heads|1, T|1, S]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [B, T, heads, D4]
@group(0) @binding(5) var<uniform> p: Params;

fn maskAt(row: u32, s: u32) -> f32 {
  return clampMask(mask[row + min(s, p.S - 1u)]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t0 = (group.x * WG + lane) * ROWS;
  let head = group.y;
  let b = group.z;
  if (t0 >= p.T) { return; }
  let stride = p.heads * D4;
  let keys = b * p.S * p.k4 + p.kAt + head * D4;
  let values = b * p.S * p.v4 + p.vAt + head * D4;
  var queries: array<vec4<f32>, ROWS * D4>;
  var acc: array<vec4<f32>, ROWS * D4>;
  var top: array<f32, ROWS>;
  var sum: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    let row = (b * p.T + min(t0 + r, p.T - 1u)) * p.q4 + p.qAt + head * D4;
    for (var d = 0u; d < D4; d++) {
      queries[r * D4 + d] = load4(q[row + d]) * p.scale;
      acc[r * D4 + d] = vec4<f32>(0.0);
    }
    top[r] = LOWEST;
    sum[r] = 0.0;
  }
  for (var s0 = 0u; s0 < p.S; s0 += 4u) {
    let s = min(vec4<u32>(s0, s0 + 1u, s0 + 2u, s0 + 3u), vec4<u32>(p.S - 1u));
    let at = keys + s * p.k4;
    let held = values + s * p.v4;
    let present = vec4<u32>(s0, s0 + 1u, s0 + 2u, s0 + 3u) < vec4<u32>(p.S);
    var weight: array<vec4<f32>, ROWS>;
    var keep: array<f32, ROWS>;
    for (var r = 0u; r < ROWS; r++) { weight[r] = vec4<f32>(0.0); }
    for (var d = 0u; d < D4; d++) {
      let k0 = load4(k[at.x + d]);
      let k1 = load4(k[at.y + d]);
      let k2 = load4(k[at.z + d]);
      let k3 = load4(k[at.w + d]);
      for (var r = 0u; r < ROWS; r++) {
        let x = queries[r * D4 + d];
        weight[r] += vec4<f32>(dot(x, k0), dot(x, k1), dot(x, k2), dot(x, k3));
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      var score = weight[r];
      if (HAS_MASK) {
        let row = b * p.maskBatch + head * p.maskHead + min(t0 + r, p.T - 1u) * p.maskRow;
        score += vec4<f32>(maskAt(row, s0), maskAt(row, s0 + 1u), maskAt(row, s0 + 2u), maskAt(row, s0 + 3u));
      }
      score = select(vec4<f32>(LOWEST), score, present);
      let high = max(max(score.x, score.y), max(score.z, score.w));
      let newTop = max(top[r], high);
      keep[r] = exponential(vec4<f32>(top[r] - newTop)).x;
      weight[r] = exponential(score - newTop);
      sum[r] = sum[r] * keep[r] + dot(weight[r], vec4<f32>(1.0));
      top[r] = newTop;
    }
    for (var d = 0u; d < D4; d++) {
      let v0 = load4(v[held.x + d]);
      let v1 = load4(v[held.y + d]);
      let v2 = load4(v[held.z + d]);
      let v3 = load4(v[held.w + d]);
      for (var r = 0u; r < ROWS; r++) {
        let w = weight[r];
        acc[r * D4 + d] = acc[r * D4 + d] * keep[r] + (w.x * v0 + w.y * v1 + w.z * v2 + w.w * v3);
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    if (t0 + r >= p.T) { return; }
    let row = (b * p.T + t0 + r) * stride + head * D4;
    for (var d = 0u; d < D4; d++) { out[row + d] = store4(acc[r * D4 + d] / sum[r]); }
  }
}
