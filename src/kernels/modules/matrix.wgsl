// A product of rows by a matrix in 4×4 blocks, by subgroup matrices: halves multiplied, sums in f32. The kernel
// declares MM, MN and MK, the sizes of the matrices (MM × MK by MK × MN, each 8 or 16), SUBS_M × SUBS_N, the subgroups
// that a workgroup has down and across, ROWS × COLS, the matrices that each computes (2 × 2, 4 × 2 or 4 × 4), K4S (4 or
// 8), the vec4 of every row that a tile holds, and, for what is brought in,
//   Row, rowOf(m): what is known of row m before its parts are loaded,
//   Depth, depthOf(k4), deeper(depth): a place along the rows, and the one K4S behind it,
//   rowPart(row, depth), weightPart(k4, k, n4): four elements of a row, row k of block (k4, n4); both must accept what
//     lies beyond the last row and column,
//   staged(v, depth, i): what becomes of the i-th part of a row that a lane brings in, always of the same row, on its
//     way into the tile; rowPart or staged makes zeros of what lies beyond the last k4,
//   finishPair(m, n4, first, second): takes the sums of columns n4 and n4 + 1, n4 even, also those beyond the edges.
//
// Subgroups have a lane for every eight sums of a matrix, which is how wide they are where these sizes are at home.
// Tiles lie in `pool`, a vec4 of halves to a vec2<u32>, in rows of two more than they hold, so that eight rows of 16
// bytes stand in different banks. While one tile is multiplied, the next is on its way into registers. Results pass
// through the same memory, one matrix per subgroup at a time, since which lane holds which element is the driver's
// secret. Matrices have names, not indices: what a loop could leave in memory must be in registers.
//
// Subgroups are taken for runs of SG consecutive invocations, so that places which depend on a lane's subgroup are the
// same within one; the compiler cannot know that. It can know, and must, that places are in range: a place that is not
// made of constants and `lane` modulo a constant is compared and selected anew at each load, and the step from row to
// row is no longer a constant.
diagnostic(off, chromium.subgroup_matrix_uniformity);
enable f16;
enable chromium_experimental_subgroup_matrix;
const SG = MM * MN / 8u;                      // lanes of a subgroup
const WG = SG * SUBS_M * SUBS_N;
const TILE_M = MM * ROWS * SUBS_M;            // rows
const TILE_N4 = MN / 4u * COLS * SUBS_N;      // vec4 columns
const ROW_STEP = K4S + 2u;
const WEIGHT_STEP = TILE_N4 + 2u;
const WEIGHTS = TILE_M * ROW_STEP;            // where the block of the matrix begins
const ROW_LOADS = TILE_M * K4S / WG;          // 2 or 4
const WEIGHT_LOADS = 4u * K4S * TILE_N4 / WG; // 2 or 4
const RESULT_STEP = MN / 2u + 2u;             // MN sums in f32, and space for four more
const RESULT = MM * RESULT_STEP;              // fits SUBS_M · SUBS_N times

alias Left = subgroup_matrix_left<f16, MK, MM>;
alias Right = subgroup_matrix_right<f16, MN, MK>;
alias Result = subgroup_matrix_result<f32, MN, MM>;
alias Loads = array<vec2<u32>, 4>;

var<workgroup> pool: array<vec2<u32>, WEIGHTS + 4u * K4S * WEIGHT_STEP>;

fn halves(e: Elem4) -> vec2<u32> { return bitcast<vec2<u32>>(vec4<f16>(e)); }

fn loadRows(row0: Row, row1: Row, row2: Row, row3: Row, depth: Depth) -> Loads {
  var v: Loads;
  v[0] = halves(rowPart(row0, depth));
  v[1] = halves(rowPart(row1, depth));
  if (ROW_LOADS > 2u) {
    v[2] = halves(rowPart(row2, depth));
    v[3] = halves(rowPart(row3, depth));
  }
  return v;
}

// Of four k of a block, each lane of four takes one.
fn loadWeights(k4: u32, k: u32, n4: u32) -> Loads {
  const DOWN = WG / (4u * TILE_N4);
  var v: Loads;
  v[0] = halves(weightPart(k4, k, n4));
  v[1] = halves(weightPart(k4 + DOWN, k, n4));
  if (WEIGHT_LOADS > 2u) {
    v[2] = halves(weightPart(k4 + 2u * DOWN, k, n4));
    v[3] = halves(weightPart(k4 + 3u * DOWN, k, n4));
  }
  return v;
}

// Hands on the sums of a subgroup's matrix, from row m and vec4 column n4 on: two vec4 to a lane.
fn handOn(m: u32, n4: u32, lane: u32) {
  let own = lane % WG;
  let row = own % SG / (MN / 8u);
  let pair = own % (MN / 8u);
  let at = own / SG * RESULT + row * RESULT_STEP + 4u * pair;
  let first = bitcast<vec4<f32>>(vec4<u32>(pool[at], pool[at + 1u]));
  let second = bitcast<vec4<f32>>(vec4<u32>(pool[at + 2u], pool[at + 3u]));
  finishPair(m + row, n4 + 2u * pair, first, second);
}

// Rows from m0 on × vec4 columns from n0 on, `k4s` vec4 of each row from `k4` on.
fn matrixProduct(m0: u32, n0: u32, k4: u32, k4s: u32, index: u32) {
  const DOWN = WG / K4S;
  let lane = index % WG;
  let row0 = rowOf(m0 + lane / K4S);
  let row1 = rowOf(m0 + lane / K4S + DOWN);
  let row2 = rowOf(m0 + lane / K4S + 2u * DOWN);
  let row3 = rowOf(m0 + lane / K4S + 3u * DOWN);
  let rowAt = lane / K4S * ROW_STEP + lane % K4S;
  let block = lane / (4u * TILE_N4);
  let column = lane / 4u % TILE_N4;
  let weightAt = WEIGHTS + (4u * block + lane % 4u) * WEIGHT_STEP + column;
  let down = lane / SG / SUBS_N * MM * ROWS;
  let across = lane / SG % SUBS_N * (MN / 4u) * COLS;
  let left = down * ROW_STEP;
  let right = WEIGHTS + across;
  var depth = depthOf(k4 + lane % K4S);
  var rows = loadRows(row0, row1, row2, row3, depth);
  var weights = loadWeights(k4 + block, lane % 4u, n0 + column);
  var c00: Result;
  var c01: Result;
  var c02: Result;
  var c03: Result;
  var c10: Result;
  var c11: Result;
  var c12: Result;
  var c13: Result;
  var c20: Result;
  var c21: Result;
  var c22: Result;
  var c23: Result;
  var c30: Result;
  var c31: Result;
  var c32: Result;
  var c33: Result;
  for (var start = 0u; start < k4s; start += K4S) {
    workgroupBarrier();
    pool[rowAt] = staged(rows[0], depth, 0u);
    pool[rowAt + DOWN * ROW_STEP] = staged(rows[1], depth, 1u);
    pool[weightAt] = weights[0];
    pool[weightAt + WG / TILE_N4 * WEIGHT_STEP] = weights[1];
    if (ROW_LOADS > 2u) {
      pool[rowAt + 2u * DOWN * ROW_STEP] = staged(rows[2], depth, 2u);
      pool[rowAt + 3u * DOWN * ROW_STEP] = staged(rows[3], depth, 3u);
    }
    if (WEIGHT_LOADS > 2u) {
      pool[weightAt + 2u * (WG / TILE_N4) * WEIGHT_STEP] = weights[2];
      pool[weightAt + 3u * (WG / TILE_N4) * WEIGHT_STEP] = weights[3];
    }
    workgroupBarrier();
    if (start + K4S < k4s) {
      depth = deeper(depth);
      rows = loadRows(row0, row1, row2, row3, depth);
      weights = loadWeights(k4 + start + K4S + block, lane % 4u, n0 + column);
    }
    // A constant end and steps of one: nothing is put in to guard against a loop without end.
    for (var step = 0u; step < 4u * K4S / MK; step++) {
      let k = MK / 4u * step;
      let w = right + 4u * k * WEIGHT_STEP;
      let b0 = subgroupMatrixLoad<Right, row_major>(&pool, w, WEIGHT_STEP);
      let b1 = subgroupMatrixLoad<Right, row_major>(&pool, w + MN / 4u, WEIGHT_STEP);
      let a0 = subgroupMatrixLoad<Left, row_major>(&pool, left + k, ROW_STEP);
      c00 = subgroupMatrixMultiplyAccumulate(a0, b0, c00);
      c01 = subgroupMatrixMultiplyAccumulate(a0, b1, c01);
      let a1 = subgroupMatrixLoad<Left, row_major>(&pool, left + MM * ROW_STEP + k, ROW_STEP);
      c10 = subgroupMatrixMultiplyAccumulate(a1, b0, c10);
      c11 = subgroupMatrixMultiplyAccumulate(a1, b1, c11);
      if (ROWS > 2u) {
        let a2 = subgroupMatrixLoad<Left, row_major>(&pool, left + 2u * MM * ROW_STEP + k, ROW_STEP);
        c20 = subgroupMatrixMultiplyAccumulate(a2, b0, c20);
        c21 = subgroupMatrixMultiplyAccumulate(a2, b1, c21);
        let a3 = subgroupMatrixLoad<Left, row_major>(&pool, left + 3u * MM * ROW_STEP + k, ROW_STEP);
        c30 = subgroupMatrixMultiplyAccumulate(a3, b0, c30);
        c31 = subgroupMatrixMultiplyAccumulate(a3, b1, c31);
        if (COLS > 2u) {
          let b2 = subgroupMatrixLoad<Right, row_major>(&pool, w + 2u * MN / 4u, WEIGHT_STEP);
          c02 = subgroupMatrixMultiplyAccumulate(a0, b2, c02);
          c12 = subgroupMatrixMultiplyAccumulate(a1, b2, c12);
          c22 = subgroupMatrixMultiplyAccumulate(a2, b2, c22);
          c32 = subgroupMatrixMultiplyAccumulate(a3, b2, c32);
          let b3 = subgroupMatrixLoad<Right, row_major>(&pool, w + 3u * MN / 4u, WEIGHT_STEP);
          c03 = subgroupMatrixMultiplyAccumulate(a0, b3, c03);
          c13 = subgroupMatrixMultiplyAccumulate(a1, b3, c13);
          c23 = subgroupMatrixMultiplyAccumulate(a2, b3, c23);
          c33 = subgroupMatrixMultiplyAccumulate(a3, b3, c33);
        }
      }
    }
  }
  // One epilogue for all of them, so that the shader stays small. Each is stored in a branch of its own: where branches
  // only chose one to store, drivers would compare and select every register of it fifteen times.
  let slot = lane / SG * RESULT;
  for (var i = 0u; i < 4u * ROWS; i++) {
    if (i % 4u >= COLS) { continue; }
    workgroupBarrier();
    switch i {
      case 0u: { subgroupMatrixStore<row_major>(&pool, slot, c00, RESULT_STEP); }
      case 1u: { subgroupMatrixStore<row_major>(&pool, slot, c01, RESULT_STEP); }
      case 2u: { if (COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c02, RESULT_STEP); } }
      case 3u: { if (COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c03, RESULT_STEP); } }
      case 4u: { subgroupMatrixStore<row_major>(&pool, slot, c10, RESULT_STEP); }
      case 5u: { subgroupMatrixStore<row_major>(&pool, slot, c11, RESULT_STEP); }
      case 6u: { if (COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c12, RESULT_STEP); } }
      case 7u: { if (COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c13, RESULT_STEP); } }
      case 8u: { if (ROWS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c20, RESULT_STEP); } }
      case 9u: { if (ROWS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c21, RESULT_STEP); } }
      case 10u: { if (ROWS > 2u && COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c22, RESULT_STEP); } }
      case 11u: { if (ROWS > 2u && COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c23, RESULT_STEP); } }
      case 12u: { if (ROWS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c30, RESULT_STEP); } }
      case 13u: { if (ROWS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c31, RESULT_STEP); } }
      case 14u: { if (ROWS > 2u && COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c32, RESULT_STEP); } }
      case 15u: { if (ROWS > 2u && COLS > 2u) { subgroupMatrixStore<row_major>(&pool, slot, c33, RESULT_STEP); } }
      default: {}
    }
    workgroupBarrier();
    handOn(m0 + down + i / 4u * MM, n0 + across + i % 4u * (MN / 4u), lane);
  }
}
