// What becomes of a sum of `conv2d` on its way out: bias, shift, act, a residual, a factor. The kernel declares ACT,
// HAS_BIAS, HAS_SHIFT, HAS_RESIDUAL, the bindings bias [O4], shift [B, shift4], residual and out [B, OH, OW, O4], and
// in Params OH, OW, O4, O, shift4, shiftAt (vec4 in front of the shift in its rows), scale.
fn finished(m: u32, o4: u32, sum: vec4<f32>) -> vec4<f32> {
  var v = sum;
  if (HAS_BIAS) { v += bias[o4]; }
  if (HAS_SHIFT) { v += load4(shift[m / (p.OH * p.OW) * p.shift4 + p.shiftAt + o4]); }
  v = activate(v, ACT);
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.O)); }
  if (HAS_RESIDUAL) { v += load4(residual[m * p.O4 + o4]); }
  return v * p.scale;
}

fn finish(m: u32, o4: u32, sum: vec4<f32>) { out[m * p.O4 + o4] = store4(finished(m, o4, sum)); }
