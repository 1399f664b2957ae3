// Mean and variance of a row by one invocation, vec4 by vec4, in one pass: each of the four columns keeps its own mean
// and sum of squares about it, and they are joined at the end (Welford 1962; Chan, Golub & LeVeque 1979, equation 2.1).
// A mean far above the deviation costs no precision. The kernel declares `input`, whose rows they are, RAGGED, which is
// whether rows may end within a vec4, and SG, the width of the subgroups that it enables.

// Mean of all and 1/√(variance + eps) of the D elements from vec4 `base` on.
fn rowNormal(base: u32, D: u32, eps: f32) -> vec2<f32> {
  var mean = vec4<f32>(0.0);
  var squares = vec4<f32>(0.0);
  var n = 0.0;
  var at = base;
  let end = base + (D + 3u) / 4u;
  loop {
    let v = load4(input[at]);
    var off = v - mean;
    if (RAGGED) { off = select(vec4<f32>(0.0), off, 4u * (at - base) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(D)); }
    n += 1.0;
    mean += off * (1.0 / n);
    squares += off * (v - mean);
    continuing { at++; break if at >= end; }
  }
  let counts = vec4<f32>((vec4<u32>(D) + vec4<u32>(3u, 2u, 1u, 0u)) / 4u);
  let all = mean.x + dot(counts, mean - mean.x) / f32(D);
  let off = mean - all;
  let total = dot(squares, vec4<f32>(1.0)) + dot(counts, off * off);
  return vec2<f32>(all, 1.0 / sqrt(total / f32(D) + eps));
}

// What the first lane has. On processors a load per lane is what costs; and with eight of them, a shuffle by a constant
// takes fewer instructions than a broadcast.
fn ofFirst(v: vec4<f32>) -> vec4<f32> {
  if (SG == 8u) { return subgroupShuffle(v, 0u); }
  return subgroupBroadcast(v, 0u);
}
