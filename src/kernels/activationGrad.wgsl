// out = g · act′(a) · (1 + scale): the gradient of act(a) by what a is an affine of; scale per channel of a batch item.
//
// g, a, out [B, P, C4]; scale [B, C4]. An invocation handles one vec4. Zero padding of g stays zero.
//@use storage activation
const WG = 64u;
const ACT = 1u;            // ACT_NONE, ACT_SILU or ACT_RELU
const HAS_SCALE = false;

struct Params {
  B: u32,    // batch
  P: u32,    // rows per batch item
  C4: u32,   // vec4 per row
}

@group(0) @binding(0) var<storage, read> g: array<Elem4>;               // [B, P, C4]
@group(0) @binding(1) var<storage, read> a: array<Elem4>;               // [B, P, C4]
@group(0) @binding(2) var<storage, read> scale: array<Elem4>;           // [B, C4]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [B, P, C4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.P * p.C4) { return; }
  var v = load4(g[i]);
  let x = load4(a[i]);
  if (ACT == ACT_SILU) {
    let s = sigmoid4(x);
    v *= s * (1.0 + x * (1.0 - s));
  }
  if (ACT == ACT_RELU) { v = select(vec4<f32>(0.0), v, x > vec4<f32>(0.0)); }
  if (HAS_SCALE) { v *= 1.0 + load4(scale[i / (p.P * p.C4) * p.C4 + i % p.C4]); }
  out[i] = store4(v);
}
