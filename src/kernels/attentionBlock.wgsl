// out[b, t, h, :] = Σₛ softmaxₛ(scale · q[b, t, h, :]·k[b, s, h, :] + mask[b, h, t, s]) · v[b, s, h, :], one workgroup
// per rows.
//
// q, out [B, T, heads, D4], k, v [B, S, heads, D4], mask [B or 1, heads or 1, T or 1, S]. A workgroup owns 4·ROW4
// consecutive queries of one head and walks the keys in blocks of WG. In each block an invocation scores one key
// against all its queries (four queries are the lanes of a vec4), puts the scores into workgroup memory, and then owns
// one vec4 column of the output, into which it gathers the whole block. The softmax is kept online, in f32, as are
// scores and output (Milakov & Gimelshein 2018, Dao et al. 2022). For any head of up to 4·WG channels.
//@use storage exponential score
const WG = 64u;
const ROW4 = 1u;
const HAS_MASK = false;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  S: u32,           // keys
  heads: u32,
  D4: u32,          // vec4 per head, at most WG
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

var<workgroup> weights: array<vec4<f32>, WG * ROW4>;                    // [WG keys, ROW4]

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t0 = group.x * 4u * ROW4;
  let head = group.y;
  let b = group.z;
  let stride = p.heads * p.D4;
  let keys = b * p.S * p.k4 + p.kAt + head * p.D4;
  let values = b * p.S * p.v4 + p.vAt + head * p.D4;
  let column = min(lane, p.D4 - 1u);
  var queries: array<vec4<u32>, ROW4>;
  var top: array<vec4<f32>, ROW4>;
  var sum: array<vec4<f32>, ROW4>;
  var acc: array<mat4x4<f32>, ROW4>;
  for (var r = 0u; r < ROW4; r++) {
    let t = min(t0 + 4u * r + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.T - 1u));
    queries[r] = (b * p.T + t) * p.q4 + p.qAt + head * p.D4;
    top[r] = vec4<f32>(LOWEST);
    sum[r] = vec4<f32>(0.0);
    acc[r] = mat4x4<f32>();
  }
  for (var s0 = 0u; s0 < p.S; s0 += WG) {
    let s = min(s0 + lane, p.S - 1u);
    let at = keys + s * p.k4;
    var score: array<vec4<f32>, ROW4>;
    for (var r = 0u; r < ROW4; r++) { score[r] = vec4<f32>(0.0); }
    for (var d = 0u; d < p.D4; d++) {
      let x = load4(k[at + d]);
      for (var r = 0u; r < ROW4; r++) {
        let row = queries[r] + d;
        score[r] += vec4<f32>(
          dot(load4(q[row.x]), x), dot(load4(q[row.y]), x), dot(load4(q[row.z]), x), dot(load4(q[row.w]), x));
      }
    }
    for (var r = 0u; r < ROW4; r++) {
      score[r] *= p.scale;
      if (HAS_MASK) {
        let row = b * p.maskBatch + head * p.maskHead + s;
        let t = min(t0 + 4u * r + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.T - 1u)) * p.maskRow;
        score[r] += vec4<f32>(clampMask(mask[row + t.x]), clampMask(mask[row + t.y]),
                              clampMask(mask[row + t.z]), clampMask(mask[row + t.w]));
      }
      if (s0 + lane >= p.S) { score[r] = vec4<f32>(LOWEST); }
      weights[lane * ROW4 + r] = score[r];
    }
    workgroupBarrier();
    let count = min(WG, p.S - s0);
    for (var r = 0u; r < ROW4; r++) {
      var newTop = top[r];
      for (var j = 0u; j < count; j++) { newTop = max(newTop, weights[j * ROW4 + r]); }
      let keep = exponential(top[r] - newTop);
      acc[r][0] *= keep.x;
      acc[r][1] *= keep.y;
      acc[r][2] *= keep.z;
      acc[r][3] *= keep.w;
      sum[r] *= keep;
      top[r] = newTop;
    }
    workgroupBarrier();
    for (var r = 0u; r < ROW4; r++) { weights[lane * ROW4 + r] = exponential(score[r] - top[r]); }
    workgroupBarrier();
    for (var j = 0u; j < count; j++) {
      let value = load4(v[values + (s0 + j) * p.v4 + column]);
      for (var r = 0u; r < ROW4; r++) {
        let w = weights[j * ROW4 + r];
        acc[r][0] += w.x * value;
        acc[r][1] += w.y * value;
        acc[r][2] += w.z * value;
        acc[r][3] += w.w * value;
        sum[r] += w;
      }
    }
    workgroupBarrier();
  }
  if (lane >= p.D4) { return; }
  for (var r = 0u; r < ROW4; r++) {
    for (var i = 0u; i < 4u; i++) {
      let t = t0 + 4u * r + i;
      if (t < p.T) { out[(b * p.T + t) * stride + head * p.D4 + lane] = store4(acc[r][i] / sum[r][i]); }
    }
  }
}
