// out[b, :] = x[b, :] + table[:]: one table, as of positions, for every item of the batch.
//
// x, out [B, N4], table [N4] f32, zero where x is padding. An invocation handles one vec4.
//@use storage
const WG = 64u;

struct Params {
  count: u32,    // vec4 of x
  N4: u32,       // vec4 per item
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;               // [B, N4]
@group(0) @binding(1) var<storage, read> table: array<vec4<f32>>;       // [N4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;       // [B, N4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.count) { return; }
  out[i] = store4(load4(x[i]) + table[i % p.N4]);
}
