// out = x under another row length: element e of x in row-major order is element e of out. Rows of both are padded.
//
// x [rows, W], out [rows', N], rows·W = rows'·N. An invocation writes one vec4 and fetches its lanes one by one, since
// they stand anywhere in x. Lanes beyond N become zero.
//@use storage
const WG = 64u;

struct Params {
  rows: u32,     // of out
  N: u32,        // elements per row of out
  N4: u32,       // vec4 per row of out
  W: u32,        // elements per row of x
  W4: u32,       // vec4 per row of x
}

@group(0) @binding(0) var<storage, read> x: array<Elem4>;               // [rows', W4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [rows, N4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.rows * p.N4) { return; }
  let row = i / p.N4;
  let n0 = 4u * (i % p.N4);
  var v = vec4<f32>(0.0);
  for (var j = 0u; j < 4u; j++) {
    if (n0 + j < p.N) {
      let e = row * p.N + n0 + j;
      let column = e % p.W;
      v[j] = load4(x[(e / p.W) * p.W4 + column / 4u])[column % 4u];
    }
  }
  out[i] = store4(v);
}
