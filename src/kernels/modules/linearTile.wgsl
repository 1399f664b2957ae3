// A weight of `linear` as `modules/tile.wgsl` brings it in, and where the sums of a tile go. The kernel declares WG_N,
// WG_M, ROWS, COLS, EXACT (no edges), ACT, HAS_BIAS, GATED, the bindings w and bias, in Params M, K4, N4, and uses
// `modules/linearOut.wgsl`.
fn weightRow(k4: u32, k: u32, n4: u32) -> vec4<f32> {
  var column = n4;
  var columns = p.N4;
  if (GATED) {
    let i = n4 % (2u * WG_N);
    column = n4 - i + 2u * (i % WG_N) + i / WG_N;
    columns *= 2u;
  }
  if (EXACT) { return load4(w[(k4 * columns + column) * 4u + k]); }
  return load4(w[(min(k4, p.K4 - 1u) * columns + min(column, columns - 1u)) * 4u + k]);
}

// Of the invocation (x, y) of a workgroup whose tile begins at row m0 and vec4 column n0.
fn finishTile(m0: u32, n0: u32, x: u32, y: u32, sums: array<vec4<f32>, ROWS * COLS>) {
  if (GATED) {
    let n4 = n0 / 2u + x;
    if (!EXACT && n4 >= p.N4) { return; }
    var values = vec4<f32>(0.0);
    var gates = vec4<f32>(0.0);
    if (HAS_BIAS) {
      values = bias[2u * n4];
      gates = bias[2u * n4 + 1u];
    }
    for (var r = 0u; r < ROWS; r++) {
      let m = m0 + y * ROWS + r;
      if (EXACT || m < p.M) {
        put(m, n4, (sums[r * COLS] + values) * activate(sums[r * COLS + COLS - 1u] + gates, ACT));
      }
    }
    return;
  }
  for (var c = 0u; c < COLS; c++) {
    let n4 = n0 + c * WG_N + x;
    if (!EXACT && n4 >= p.N4) { continue; }
    var start = vec4<f32>(0.0);
    if (HAS_BIAS) { start = bias[n4]; }
    for (var r = 0u; r < ROWS; r++) {
      let m = m0 + y * ROWS + r;
      if (EXACT || m < p.M) { finish(m, n4, sums[r * COLS + c] + start); }
    }
  }
}
