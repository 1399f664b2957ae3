// out[row, :] = x[row, from … from + N), channels cut out.
//
// x [rows, W4], out [rows, N4]. An invocation writes one vec4. Where `from` is no multiple of four (SHIFT = from mod
// 4), it joins two neighbours of x. Lanes beyond N become zero.
//@use storage
const WG = 64u;
const SHIFT = 0u;

struct Params {
  rows: u32,
  N: u32,        // channels of out
  N4: u32,       // vec4 per row of out
  W4: u32,       // vec4 per row of x
  first: u32,    // vec4 of x in which out starts
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;               // [rows, W4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [rows, N4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.rows * p.N4) { return; }
  let n4 = i % p.N4;
  let row = (i / p.N4) * p.W4;
  var v = load4(x[row + p.first + n4]);
  if (SHIFT != 0u) {
    let next = load4(x[row + min(p.first + n4 + 1u, p.W4 - 1u)]);
    if (SHIFT == 1u) { v = vec4<f32>(v.yzw, next.x); }
    if (SHIFT == 2u) { v = vec4<f32>(v.zw, next.xy); }
    if (SHIFT == 3u) { v = vec4<f32>(v.w, next.xyz); }
  }
  let n = 4u * n4 + vec4<u32>(0u, 1u, 2u, 3u);
  out[i] = store4(select(vec4<f32>(0.0), v, n < vec4<u32>(p.N)));
}
