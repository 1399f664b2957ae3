// Rotary positions: every pair (x₂ᵢ, x₂ᵢ₊₁) of a head is turned by its token's angle. Su et al. 2021, equation 34.
//
// x, out [B, T, heads, D4]; table [T, 2, D4], a token's cosines and then its sines, each pair's value twice.
// An invocation turns the two pairs of one vec4, with IN_PLACE those that stand in out. f32.
//@use storage
const WG = 64u;
const IN_PLACE = false;

struct Params {
  count: u32,    // vec4 of x
  T: u32,        // tokens
  heads: u32,
  D4: u32,       // vec4 per head
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;               // [B, T, heads, D4]
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;       // [T, 2, D4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;       // [B, T, heads, D4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.count) { return; }
  let t = (i / (p.D4 * p.heads)) % p.T;
  let at = 2u * t * p.D4 + i % p.D4;
  var v = vec4<f32>(0.0);
  if (IN_PLACE) { v = load4(out[i]); } else { v = load4(x[i]); }
  out[i] = store4(v * table[at] + vec4<f32>(-v.y, v.x, -v.w, v.z) * table[at + p.D4]);
}
