// A product of rows by a matrix in 4×4 blocks, tile by tile through workgroup memory. The kernel declares WG_N × WG_M
// invocations, ROWS and COLS, the rows and vec4 columns that each computes, K4S, the vec4 of every row that a tile
// holds, and the functions rowPart(m, k4), four elements of row m, and weightRow(k4, k, n4), row k of block (k4, n4);
// both must accept what lies beyond the last row and column. While one tile is multiplied, the next is on its way into
// registers. From there to the tile, every part of a row goes through staged(v, k4, i), the i-th that its invocation
// brings in, always of the same row; rowPart or staged makes zeros of what lies beyond the last k4.
const ROW_LOADS = ROWS * K4S / WG_N;
const WEIGHT_LOADS = 4u * K4S * COLS / WG_M;

var<workgroup> rowTile: array<vec4<f32>, WG_M * ROWS * K4S>;               // [WG_M · ROWS, K4S]
var<workgroup> weightTile: array<vec4<f32>, 4u * K4S * WG_N * COLS>;       // [4 · K4S, COLS · WG_N]

// The sums of an invocation, `column` of a workgroup's WG_N in the `line`th of its WG_M: ROWS rows from
// m0 + line · ROWS on × vec4 columns column, column + WG_N … from n0 on.
fn tileProduct(m0: u32, n0: u32, k4s: u32, column: u32, line: u32) -> array<vec4<f32>, ROWS * COLS> {
  // Nothing changes, but compilers see that indices are in range, and do not clamp them; for the same reason loops go
  // up by one.
  let x = column % WG_N;
  let y = line % WG_M;
  let index = y * WG_N + x;
  var sums: array<vec4<f32>, ROWS * COLS>;
  var rows: array<vec4<f32>, ROW_LOADS>;
  var weights: array<vec4<f32>, WEIGHT_LOADS>;
  for (var i = 0u; i < ROWS * COLS; i++) { sums[i] = vec4<f32>(0.0); }
  for (var turn = 0u; turn <= (k4s + K4S - 1u) / K4S; turn++) {
    let start = turn * K4S;
    if (turn > 0u) {
      workgroupBarrier();
      for (var i = 0u; i < ROW_LOADS; i++) { rowTile[index + i * WG_M * WG_N] = staged(rows[i], start - K4S + index % K4S, i); }
      for (var i = 0u; i < WEIGHT_LOADS; i++) {
        let at = index + i * WG_M * WG_N;
        let n = at / 4u % (WG_N * COLS);
        weightTile[(at / (4u * WG_N * COLS) * 4u + at % 4u) * WG_N * COLS + n] = weights[i];
      }
      workgroupBarrier();
    }
    if (start < k4s) {
      for (var i = 0u; i < ROW_LOADS; i++) {
        let at = index + i * WG_M * WG_N;
        rows[i] = rowPart(m0 + at / K4S, start + at % K4S);
      }
      for (var i = 0u; i < WEIGHT_LOADS; i++) {
        let at = index + i * WG_M * WG_N;
        weights[i] = weightRow(start + at / (4u * WG_N * COLS), at % 4u, n0 + at / 4u % (WG_N * COLS));
      }
    }
    if (turn == 0u) { continue; }
    for (var k4 = 0u; k4 < K4S; k4++) {
      var v: array<vec4<f32>, ROWS>;
      for (var r = 0u; r < ROWS; r++) { v[r] = rowTile[(y * ROWS + r) * K4S + k4]; }
      for (var c = 0u; c < COLS; c++) {
        let at = 4u * k4 * WG_N * COLS + c * WG_N + x;
        let w0 = weightTile[at];
        let w1 = weightTile[at + WG_N * COLS];
        let w2 = weightTile[at + 2u * WG_N * COLS];
        let w3 = weightTile[at + 3u * WG_N * COLS];
        for (var r = 0u; r < ROWS; r++) {
          var sum = fma(vec4<f32>(v[r].x), w0, sums[r * COLS + c]);
          sum = fma(vec4<f32>(v[r].y), w1, sum);
          sum = fma(vec4<f32>(v[r].z), w2, sum);
          sums[r * COLS + c] = fma(vec4<f32>(v[r].w), w3, sum);
        }
      }
    }
  }
  return sums;
}
