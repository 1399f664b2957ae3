// weights[b, h, t, s] = scale · q[b, t0 + t, h, :]·k[b, s, h, :] + mask[b, h, t0 + t, s]: the scores of some queries,
// as a matrix.
//
// q [B, T, heads, D4], k [B, S, heads, D4], mask [B or 1, heads or 1, T or 1, S], weights [B, heads, count, S4] f32. An
// invocation scores ROWS consecutive queries against four keys, in registers, so that four keys and ROWS queries serve
// 4·ROWS products. No workgroup memory, no barrier, and one pipeline for every head width. Lanes beyond S become
// LOWEST.
//@use storage score
const ROWS = 4u;
const WG_S = 8u;
const WG_T = 8u;
const HAS_MASK = false;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  t0: u32,          // first query
  count: u32,       // queries of this dispatch
  S: u32,           // keys
  S4: u32,          // vec4 per row of weights
  heads: u32,
  D4: u32,          // vec4 per head
  scale: f32,
  maskBatch: u32,   // elements of mask from one batch item to the next; 0 when shared
  maskHead: u32,    // elements of mask from one head to the next; 0 when shared
  maskRow: u32,     // elements of mask from one query to the next; 0 when shared
  q4: u32,          // vec4 per row of the tensor that holds q, and in front of q in it; likewise k
  qAt: u32,
  k4: u32,
  kAt: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Elem4>;                       // [B, T, q4]: [heads, D4] from qAt
@group(0) @binding(1) var<storage, read> k: array<Elem4>;                       // [B, S, k4]
@group(0) @binding(2) var<storage, read> mask: array<f32>;                      // [B|1, heads|1, T|1, S]
@group(0) @binding(3) var<storage, read_write> weights: array<vec4<f32>>;       // [B, heads, count, S4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG_S, WG_T)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let s4 = gid.x;
  let first = gid.y * ROWS;
  let b = gid.z / p.heads;
  let head = gid.z % p.heads;
  if (s4 >= p.S4 || first >= p.count) { return; }
  let s = 4u * s4 + vec4<u32>(0u, 1u, 2u, 3u);
  let key = (b * p.S + min(s, vec4<u32>(p.S - 1u))) * p.k4 + p.kAt + head * p.D4;
  var base: array<u32, ROWS>;
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    base[r] = (b * p.T + p.t0 + min(first + r, p.count - 1u)) * p.q4 + p.qAt + head * p.D4;
    acc[r] = vec4<f32>(0.0);
  }
  for (var d = 0u; d < p.D4; d++) {
    let k0 = load4(k[key.x + d]);
    let k1 = load4(k[key.y + d]);
    let k2 = load4(k[key.z + d]);
    let k3 = load4(k[key.w + d]);
    for (var r = 0u; r < ROWS; r++) {
      let x = load4(q[base[r] + d]);
      acc[r] += vec4<f32>(dot(x, k0), dot(x, k1), dot(x, k2), dot(x, k3));
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let t = first + r;
    if (t >= p.count) { return; }
    var v = acc[r] * p.scale;
    if (HAS_MASK) {
      let at = b * p.maskBatch + head * p.maskHead + (p.t0 + t) * p.maskRow + min(s, vec4<u32>(p.S - 1u));
      v += vec4<f32>(clampMask(mask[at.x]), clampMask(mask[at.y]), clampMask(mask[at.z]), clampMask(mask[at.w]));
    }
    weights[(gid.z * p.count + t) * p.S4 + s4] = select(vec4<f32>(LOWEST), v, s < vec4<u32>(p.S));
  }
}
