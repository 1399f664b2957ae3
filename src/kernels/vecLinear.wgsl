// out = f(Σᵢ cᵢ · tᵢ + bias), elementwise: a sampler's state update, with what may follow it in the same pass.
//
// tᵢ are up to six vectors of `batch` items, vec4 by vec4: item b of tᵢ starts at vec4 offsetᵢ + b · strideᵢ, so a half of the
// channels is a vector too; out is dense. Number of terms and f are uniform, so one pipeline serves every form:
//   0: Σ   1: clamp(Σ, lo, hi)   2: t₅ · exp(Σ)   3: t₅ · √Σ   4: t₅ · Σ + (1 − t₅) · t₄
// An invocation computes one vec4, in f32, as a chain of fused multiply-adds.
//@use exponential
const WG = 64u;

struct Params {
  n4: u32,               // vec4 in out
  item4: u32,            // vec4 per item; n4 where all terms are dense
  terms: u32,            // 0 … 6
  op: u32,               // f
  bias: f32,
  lo: f32,
  hi: f32,
  c0: vec4<f32>,         // coefficients of t0 … t3
  c1: vec2<f32>,         // of t4, t5
  offset0: vec4<u32>,    // vec4
  offset1: vec2<u32>,
  stride0: vec4<u32>,    // vec4
  stride1: vec2<u32>,
}

@group(0) @binding(0) var<storage, read> t0: array<vec4<f32>>;          // [batch, item4], strided
@group(0) @binding(1) var<storage, read> t1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> t2: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> t3: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> t4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> t5: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;   // [batch, item4]
@group(0) @binding(7) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.n4) { return; }
  let item = i / p.item4;
  let at0 = p.offset0 + item * p.stride0 + i % p.item4;
  let at1 = p.offset1 + item * p.stride1 + i % p.item4;
  var v = vec4<f32>(p.bias);
  if (p.terms > 0u) { v = fma(vec4<f32>(p.c0.x), t0[at0.x], v); }
  if (p.terms > 1u) { v = fma(vec4<f32>(p.c0.y), t1[at0.y], v); }
  if (p.terms > 2u) { v = fma(vec4<f32>(p.c0.z), t2[at0.z], v); }
  if (p.terms > 3u) { v = fma(vec4<f32>(p.c0.w), t3[at0.w], v); }
  if (p.terms > 4u) { v = fma(vec4<f32>(p.c1.x), t4[at1.x], v); }
  if (p.terms > 5u) { v = fma(vec4<f32>(p.c1.y), t5[at1.y], v); }
  switch p.op {
    case 1u: { v = clamp(v, vec4<f32>(p.lo), vec4<f32>(p.hi)); }
    case 2u: { v = t5[at1.y] * exponential(v); }
    case 3u: { v = t5[at1.y] * sqrt(v); }
    case 4u: {
      let m = t5[at1.y];
      v = fma(m, v, (1.0 - m) * t4[at1.x]);
    }
    default: { }
  }
  out[i] = v;
}
