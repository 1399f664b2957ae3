// out[b, h, t, s] = table[buckets[s − t + T − 1], h] + padding[b, s]: a bias per head and distance, for attention
// scores (Raffel et al. 2020, section 2.1).
//
// buckets [2T − 1] u32 by distance, table [K, heads] in rows of vec4, padding [B, T], out [B, heads, T, T] f32. An
// invocation writes one element.
const WG = 64u;
const HAS_PADDING = false;

struct Params {
  B: u32,         // batch
  heads: u32,
  T: u32,         // tokens
  heads4: u32,    // vec4 per row of table
}

@group(0) @binding(0) var<storage, read> buckets: array<u32>;           // [2T − 1]
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;       // [K, heads4]
@group(0) @binding(2) var<storage, read> padding: array<f32>;           // [B, T]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;         // [B, heads, T, T]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.heads * p.T * p.T) { return; }
  let s = i % p.T;
  let t = (i / p.T) % p.T;
  let row = i / (p.T * p.T);
  let head = row % p.heads;
  var bias = table[buckets[s + p.T - 1u - t] * p.heads4 + head / 4u][head % 4u];
  if (HAS_PADDING) { bias += padding[(row / p.heads) * p.T + s]; }
  out[i] = bias;
}
