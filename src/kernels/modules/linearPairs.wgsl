// Sums of `linear` that `modules/matrix.wgsl` hands over in pairs of columns, and how many columns the weight has. The
// kernel declares EXACT (no edges), ACT, HAS_BIAS, GATED, the binding bias, in Params M and N4, and uses
// `modules/linearOut.wgsl`.
fn columnsOfWeight() -> u32 { return select(p.N4, 2u * p.N4, GATED); }

fn finishOne(m: u32, n4: u32, sum: vec4<f32>) {
  if (!EXACT && n4 >= p.N4) { return; }
  var start = vec4<f32>(0.0);
  if (HAS_BIAS) { start = bias[n4]; }
  finish(m, n4, sum + start);
}

fn finishPair(m: u32, n4: u32, first: vec4<f32>, second: vec4<f32>) {
  if (!EXACT && m >= p.M) { return; }
  if (!GATED) {
    finishOne(m, n4, first);
    finishOne(m, n4 + 1u, second);
  } else if (EXACT || n4 / 2u < p.N4) {
    var values = first;
    var gates = second;
    if (HAS_BIAS) {
      values += bias[n4];
      gates += bias[n4 + 1u];
    }
    put(m, n4 / 2u, values * activate(gates, ACT));
  }
}
