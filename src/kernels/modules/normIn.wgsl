// What becomes of a map before it is convolved, where a norm in front of the convolution is computed in its loads. The
// kernel declares NORM (without it all of this is dead), NORM_ACT, the bindings affine [B, 2, I4], mean and scale as
// groupNormFinalise leaves them, and beta [I4], and in Params I, I4 and acts.
struct Norm { mean: vec4<f32>, scale: vec4<f32>, shift: vec4<f32>, inside: vec4<bool> }

// That of vec4 c4 of the channels of batch item b.
fn normOf(b: u32, c4: u32) -> Norm {
  var norm: Norm;
  if (NORM) {
    norm.mean = affine[b * 2u * p.I4 + c4];
    norm.scale = affine[b * 2u * p.I4 + p.I4 + c4];
    norm.shift = beta[c4];
    norm.inside = 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.I);
  }
  return norm;
}

fn normalised(v: vec4<f32>, norm: Norm) -> vec4<f32> {
  if (!NORM) { return v; }
  let normal = fma(v - norm.mean, norm.scale, norm.shift);
  let out = select(normal, activate(normal, NORM_ACT), p.acts == 1u);
  // The only activation that makes padding lanes non-zero.
  if (NORM_ACT == ACT_SIGMOID) { return select(vec4<f32>(0.0), out, norm.inside); }
  return out;
}
