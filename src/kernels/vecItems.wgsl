// out[b, i] = f(x[b, i], scale[b]): what one number per item does to a vector.
//
// x, out dense, vec4 by vec4; an item may begin inside one. scale [batch] f32. f is uniform:
//   0: x · scale   1: clamp(x, −s, s) / s with s = min(max(scale, 1), hi)
// An invocation computes one vec4.
const WG = 64u;

struct Params {
  n4: u32,       // vec4 in out
  item: u32,     // elements per item
  batch: u32,
  op: u32,       // f
  hi: f32,
}

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;           // [batch, item]
@group(0) @binding(1) var<storage, read> scale: array<f32>;             // [batch]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;   // [batch, item]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.n4) { return; }
  let b = min((4u * i + vec4<u32>(0u, 1u, 2u, 3u)) / p.item, vec4<u32>(p.batch - 1u));
  let s = vec4<f32>(scale[b.x], scale[b.y], scale[b.z], scale[b.w]);
  if (p.op == 0u) {
    out[i] = x[i] * s;
  } else {
    let bound = min(max(s, vec4<f32>(1.0)), vec4<f32>(p.hi));
    out[i] = clamp(x[i], -bound, bound) / bound;
  }
}
