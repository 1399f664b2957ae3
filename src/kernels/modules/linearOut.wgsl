// What becomes of a sum of `linear` on its way out: act, a gate per batch item and column, a residual, a factor. The
// kernel declares ACT, HAS_RESIDUAL, IN_PLACE (the residual is what out holds), HAS_GATE, the bindings residual, gate
// [B, gate4] and out [M, N4], and in Params N, N4, scale; acts and adds, 1 where the activation and the residual apply,
// so that layers with and without can share a shader; and T, gate4, gateAt where the gate is used: rows per item, vec4
// per row of gate, vec4 in front of the gate in it.

// out[m, n4] for a sum that holds the bias.
fn finish(m: u32, n4: u32, sum: vec4<f32>) {
  put(m, n4, select(sum, activate(sum, ACT), p.acts == 1u));
}

// The same for a value behind which the activation lies already.
fn put(m: u32, n4: u32, value: vec4<f32>) {
  var v = value;
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * n4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.N)); }
  if (HAS_GATE) { v *= load4(gate[m / p.T * p.gate4 + p.gateAt + n4]); }
  if (HAS_RESIDUAL && p.adds == 1u) {
    if (IN_PLACE) { v += load4(out[m * p.N4 + n4]); } else { v += load4(residual[m * p.N4 + n4]); }
  }
  out[m * p.N4 + n4] = store4(v * p.scale);
}
