// out[b, t, d] = x[b, t, d] + m[b, gate + d] · y[b, t, d]: a residual behind a gate per item and channel.
//
// x, y, out [B, T, D4], m [B, stride], one of whose vectors is the gate; D is a multiple of four. An invocation handles
// one vec4.
//@use storage
const WG = 64u;

struct Params {
  count: u32,     // vec4 of x
  N4: u32,        // vec4 of x per batch item
  D4: u32,        // vec4 per row
  stride: u32,    // vec4 per row of m
  gate: u32,      // vec4 in front of the gate
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;               // [B, T, D4]
@group(0) @binding(1) var<storage, read> y: array<Elem4>;               // [B, T, D4]
@group(0) @binding(2) var<storage, read> m: array<Elem4>;               // [B, stride]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [B, T, D4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.count) { return; }
  let gate = load4(m[i / p.N4 * p.stride + p.gate + i % p.D4]);
  out[i] = store4(fma(gate, load4(y[i]), load4(x[i])));
}
