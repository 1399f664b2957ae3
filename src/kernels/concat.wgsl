// out[row, :] = a[row, :] followed by b[row, :], along channels.
//
// a [rows, A4], b [rows, B4], out [rows, N4]; a has A channels. An invocation writes one vec4. Where A is no multiple
// of four (SHIFT = A mod 4), b's channels move by SHIFT lanes, so a vec4 of out joins two neighbours. Padding stays
// zero since it is.
//@use storage
const WG = 64u;
const SHIFT = 0u;

struct Params {
  rows: u32,
  A: u32,        // channels of a
  A4: u32,       // vec4 per row of a
  B4: u32,       // vec4 per row of b
  N4: u32,       // vec4 per row of out
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [rows, A4]
@group(0) @binding(1) var<storage, read> b: array<Elem4>;               // [rows, B4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;       // [rows, N4]
@group(0) @binding(3) var<uniform> p: Params;

// The lanes of `x` that move on into the next vec4, at its front.
fn carried(x: vec4<f32>) -> vec4<f32> {
  if (SHIFT == 1u) { return vec4<f32>(x.w, 0.0, 0.0, 0.0); }
  if (SHIFT == 2u) { return vec4<f32>(x.zw, 0.0, 0.0); }
  return vec4<f32>(x.yzw, 0.0);
}

// The lanes of `x` that stay, moved back.
fn moved(x: vec4<f32>) -> vec4<f32> {
  if (SHIFT == 1u) { return vec4<f32>(0.0, x.xyz); }
  if (SHIFT == 2u) { return vec4<f32>(0.0, 0.0, x.xy); }
  return vec4<f32>(0.0, 0.0, 0.0, x.x);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.rows * p.N4) { return; }
  let n4 = i % p.N4;
  let row = i / p.N4;
  let whole = p.A / 4u;
  if (n4 < whole) {
    out[i] = a[row * p.A4 + n4];
    return;
  }
  let k = n4 - whole;
  if (SHIFT == 0u) {
    out[i] = b[row * p.B4 + k];
    return;
  }
  var v = vec4<f32>(0.0);
  if (k == 0u) {
    v = load4(a[row * p.A4 + whole]);
  } else {
    v = carried(load4(b[row * p.B4 + k - 1u]));
  }
  if (k < p.B4) { v += moved(load4(b[row * p.B4 + k])); }
  out[i] = store4(v);
}
