// Mean and variance of a row by a team of LANES invocations, which take every LANES-th vec4 of it each: once for the
// mean, once for the variance about it. Sums are relative to the row's first element, so that a mean far above the
// deviation costs no precision. The kernel declares `input`, whose rows they are, and names the module team before this
// one.

// Elements beyond D, which are padding, count nothing.
fn cleared(v: vec4<f32>, d4: u32, D: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), v, 4u * d4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(D));
}

// Mean of all and 1/√(variance + eps) of the D elements from vec4 `base` on. All invocations of the workgroup must call
// it.
fn teamNormal(base: u32, D: u32, eps: f32, lane: u32) -> vec2<f32> {
  let D4 = (D + 3u) / 4u;
  let origin = load4(input[base]).x;
  var total = vec4<f32>(0.0);
  for (var d4 = lane % LANES; d4 < D4; d4 += LANES) { total += cleared(load4(input[base + d4]) - origin, d4, D); }
  let mean = origin + teamSum(dot(total, vec4<f32>(1.0)), lane) / f32(D);
  var spread = vec4<f32>(0.0);
  for (var d4 = lane % LANES; d4 < D4; d4 += LANES) {
    let e = cleared(load4(input[base + d4]) - mean, d4, D);
    spread = fma(e, e, spread);
  }
  return vec2<f32>(mean, 1.0 / sqrt(teamSum(dot(spread, vec4<f32>(1.0)), lane) / f32(D) + eps));
}
