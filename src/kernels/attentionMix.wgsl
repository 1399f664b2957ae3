// out[b, t0 + t, h, :] = Σₛ weights[b, h, t, s] · v[b, s, h, :] / sums[b, h, t]: values mixed by softmax weights.
//
// weights [B, heads, count, S4] f32, v [B, S, heads, D4], sums [B, heads, count], out [B, T, heads, D4]. An invocation
// computes ROWS consecutive queries × one vec4 column, in registers, four keys at a time. Weights beyond the last key
// are zero.
//@use storage
const ROWS = 4u;
const WG_D = 8u;
const WG_T = 8u;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  t0: u32,          // first query
  count: u32,       // queries of this dispatch
  S: u32,           // keys
  S4: u32,          // vec4 per row of weights
  heads: u32,
  D4: u32,          // vec4 per head
  v4: u32,          // vec4 per row of the tensor that holds v
  vAt: u32,         // vec4 in front of v in it
}

@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;     // [B, heads, count, S4]
@group(0) @binding(1) var<storage, read> sums: array<f32>;              // [B, heads, count]
@group(0) @binding(2) var<storage, read> v: array<Elem4>;               // [B, S, v4], of which [heads, D4] behind vAt
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [B, T, heads, D4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG_D, WG_T)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let d = gid.x;
  let first = gid.y * ROWS;
  let b = gid.z / p.heads;
  let head = gid.z % p.heads;
  if (d >= p.D4 || first >= p.count) { return; }
  let stride = p.heads * p.D4;
  let values = b * p.S * p.v4 + p.vAt + head * p.D4 + d;
  var base: array<u32, ROWS>;
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    base[r] = gid.z * p.count + min(first + r, p.count - 1u);
    acc[r] = vec4<f32>(0.0);
  }
  for (var s4 = 0u; s4 < p.S4; s4++) {
    let at = values + min(4u * s4 + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.S - 1u)) * p.v4;
    let v0 = load4(v[at.x]);
    let v1 = load4(v[at.y]);
    let v2 = load4(v[at.z]);
    let v3 = load4(v[at.w]);
    for (var r = 0u; r < ROWS; r++) {
      let w = weights[base[r] * p.S4 + s4];
      acc[r] += w.x * v0 + w.y * v1 + w.z * v2 + w.w * v3;
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    if (first + r >= p.count) { return; }
    out[(b * p.T + p.t0 + first + r) * stride + head * p.D4 + d] = store4(acc[r] / sums[base[r]]);
  }
}
