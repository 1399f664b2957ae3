// Mean and variance of a row that comes vec4 by vec4, in one pass: each of the four columns keeps its own mean and sum of
// squares about it, and they are joined at the end (Welford 1962; Chan, Golub & LeVeque 1979, equation 2.1). A mean far above
// the deviation costs no precision.
struct Moments { mean: vec4<f32>, squares: vec4<f32> }

// With vec4 d4 of a row of D elements; elements beyond D count nothing.
fn withVec4(m: Moments, v: vec4<f32>, d4: u32, D: u32) -> Moments {
  let present = 4u * d4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(D);
  let off = select(vec4<f32>(0.0), v - m.mean, present);
  let mean = m.mean + off / f32(d4 + 1u);
  return Moments(mean, m.squares + off * (v - mean));
}

// Mean of all and 1/√(variance + eps).
fn normal(m: Moments, D: u32, eps: f32) -> vec2<f32> {
  let counts = vec4<f32>((vec4<u32>(D) + vec4<u32>(3u, 2u, 1u, 0u)) / 4u);
  let mean = m.mean.x + dot(counts, m.mean - m.mean.x) / f32(D);
  let off = m.mean - mean;
  let squares = dot(m.squares, vec4<f32>(1.0)) + dot(counts, off * off);
  return vec2<f32>(mean, 1.0 / sqrt(squares / f32(D) + eps));
}
