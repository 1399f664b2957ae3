// What arithmetic costs when nothing else does: chains of fused multiply-adds in registers, eight independent vec4 per
// invocation, f32. An invocation makes ROUNDS · 8 · 4 of them and no load; the single store is never reached.

const ROUNDS = 256u;

@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let start = f32(id.x & 255u) * 0.001;
  // Fixed point at 1: values stay where multiplying is not slow.
  let m = vec4f(0.75);
  let a = vec4f(0.25);
  var x0 = vec4f(start);
  var x1 = vec4f(start + 0.1);
  var x2 = vec4f(start + 0.2);
  var x3 = vec4f(start + 0.3);
  var x4 = vec4f(start + 0.4);
  var x5 = vec4f(start + 0.5);
  var x6 = vec4f(start + 0.6);
  var x7 = vec4f(start + 0.7);
  for (var i = 0u; i < ROUNDS; i++) {
    x0 = fma(x0, m, a);
    x1 = fma(x1, m, a);
    x2 = fma(x2, m, a);
    x3 = fma(x3, m, a);
    x4 = fma(x4, m, a);
    x5 = fma(x5, m, a);
    x6 = fma(x6, m, a);
    x7 = fma(x7, m, a);
  }
  let sum = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7;
  if (sum.x > 1e6) {
    out[id.x & 255u] = sum;
  }
}
