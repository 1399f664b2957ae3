// Rows of one matrix, or of two side by side, and a weight in 4×4 blocks: what `modules/matrix.wgsl` asks of a kernel.
// The kernel declares EXACT (no edges), HAS_SECOND, the bindings a [M, A4], second [M, K4 − A4] and w [K4, columns, 4],
// in Params M, K4, A4, and columnsOfWeight(), in vec4.
struct Row {
  a: u32,       // where it begins in a
  second: u32,  // and in second
}
alias Depth = u32;

fn rowOf(m: u32) -> Row {
  var row = m;
  if (!EXACT) { row = min(m, p.M - 1u); }
  return Row(row * p.A4, row * (p.K4 - p.A4));
}

fn depthOf(k4: u32) -> Depth { return k4; }

fn deeper(depth: Depth) -> Depth { return depth + K4S; }

fn rowPart(row: Row, depth: Depth) -> Elem4 {
  if (!EXACT && depth >= p.K4) { return Elem4(); }
  if (HAS_SECOND && depth >= p.A4) { return second[row.second + depth - p.A4]; }
  return a[row.a + depth];
}

fn staged(v: vec2<u32>, depth: Depth, i: u32) -> vec2<u32> { return v; }

fn weightPart(k4: u32, k: u32, n4: u32) -> Elem4 {
  let columns = columnsOfWeight();
  if (EXACT) { return w[(k4 * columns + n4) * 4u + k]; }
  return w[(min(k4, p.K4 - 1u) * columns + min(n4, columns - 1u)) * 4u + k];
}
