// out[b, i] = input[offset + b · stride + i]: a vector whose items stand anywhere, made dense.
//
// input, out f32. An invocation copies one element, since items may start between two vec4.
const WG = 64u;

struct Params {
  n: u32,        // elements of out
  item: u32,     // elements per item
  offset: u32,   // elements
  stride: u32,   // elements
}

@group(0) @binding(0) var<storage, read> input: array<f32>;             // strided
@group(0) @binding(1) var<storage, read_write> out: array<f32>;         // [n]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.n) { return; }
  out[i] = input[p.offset + (i / p.item) * p.stride + i % p.item];
}
