// What arithmetic costs when nothing else does: twelve independent chains of fused multiply-adds in registers per
// invocation, f32. An invocation makes ROUNDS · 16 · 12 of them and no load; the single store is never reached.

const ROUNDS = 64u;
// Fixed point at 1: values stay where multiplying is not slow.
const M = 0.75;
const A = 0.25;

@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;

struct Chains {
  x0: f32,
  x1: f32,
  x2: f32,
  x3: f32,
  x4: f32,
  x5: f32,
  x6: f32,
  x7: f32,
  x8: f32,
  x9: f32,
  x10: f32,
  x11: f32,
}

fn one(c: Chains) -> Chains {
  return Chains(
    fma(c.x0, M, A),
    fma(c.x1, M, A),
    fma(c.x2, M, A),
    fma(c.x3, M, A),
    fma(c.x4, M, A),
    fma(c.x5, M, A),
    fma(c.x6, M, A),
    fma(c.x7, M, A),
    fma(c.x8, M, A),
    fma(c.x9, M, A),
    fma(c.x10, M, A),
    fma(c.x11, M, A),
  );
}

fn four(c: Chains) -> Chains {
  return one(one(one(one(c))));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let s = f32(id.x & 255u) * 0.001;
  var c = Chains(s + 0.0, s + 0.1, s + 0.2, s + 0.3, s + 0.4, s + 0.5, s + 0.6, s + 0.7, s + 0.8, s + 0.9, s + 1.0, s + 1.1);
  for (var i = 0u; i < ROUNDS; i++) {
    c = four(four(four(four(c))));
  }
  let sum = c.x0 + c.x1 + c.x2 + c.x3 + c.x4 + c.x5 + c.x6 + c.x7 + c.x8 + c.x9 + c.x10 + c.x11;
  if (sum > 1e6) {
    out[id.x & 255u] = vec4f(sum);
  }
}
