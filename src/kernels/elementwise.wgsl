// out = act(a · alpha ∘ b · beta), elementwise over rows of vec4; ∘ is +, ·, or the affine a · (1 + b) + c.
//
// a, out [B, P, C4]; b, c the same, or one row per batch item [B, C4] when BROADCAST. An invocation handles one vec4.
// No operation yields non-zero padding from zero padding: alpha, beta scale, and activate(0) is 0 but for the sigmoid,
// whose padding is cleared.
//@use storage activation
const WG = 64u;
const OP = 0u;             // 0: act(alpha·a)   1: act(alpha·a + beta·b)   2: act(alpha·a·b)   3: act(a·(1 + b) + c)
const BROADCAST = false;
const ACT = 0u;

struct Params {
  B: u32,         // batch
  P: u32,         // rows per batch item
  C4: u32,        // vec4 per row
  C: u32,         // channels
  alpha: f32,
  beta: f32,
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [B, P, C4]
@group(0) @binding(1) var<storage, read> b: array<Elem4>;               // [B, P, C4] or [B, C4]
@group(0) @binding(2) var<storage, read> c: array<Elem4>;               // as b
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [B, P, C4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.P * p.C4) { return; }
  let c4 = i % p.C4;
  var j = i;
  if (BROADCAST) { j = (i / (p.P * p.C4)) * p.C4 + c4; }
  var v = load4(a[i]);
  if (OP == 0u) { v = p.alpha * v; }
  if (OP == 1u) { v = p.alpha * v + p.beta * load4(b[j]); }
  if (OP == 2u) { v = p.alpha * v * load4(b[j]); }
  if (OP == 3u) { v = v * (1.0 + load4(b[j])) + load4(c[j]); }
  v = activate(v, ACT);
  if (ACT == ACT_SIGMOID) {
    let first = 4u * c4;
    v = select(vec4<f32>(0.0), v, vec4<u32>(first, first + 1u, first + 2u, first + 3u) < vec4<u32>(p.C));
  }
  out[i] = store4(v);
}
