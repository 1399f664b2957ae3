// Rows that are normalised on their way into a tile, and a weight in 4×4 blocks: what `modules/matrix.wgsl` asks of a
// kernel, and what `modules/rowNormals.wgsl` does. The kernel declares EXACT (no edges), the bindings a [M, K4] and w
// [K4, columns, 4], in Params M, K4, and columnsOfWeight(), in vec4.
alias Row = u32; // where it begins
alias Depth = u32;

fn leave(at: u32, v: vec2<f32>) { pool[at % (WG * ROW_LOADS)] = bitcast<vec2<u32>>(v); }

fn left(at: u32) -> vec2<f32> { return bitcast<vec2<f32>>(pool[at % (WG * ROW_LOADS)]); }

fn rowOf(m: u32) -> Row {
  if (EXACT) { return m * p.K4; }
  return min(m, p.M - 1u) * p.K4;
}

fn depthOf(k4: u32) -> Depth { return k4; }

fn deeper(depth: Depth) -> Depth { return depth + K4S; }

fn rowPart(row: Row, depth: Depth) -> Elem4 {
  if (EXACT) { return a[row + depth]; }
  return a[row + min(depth, p.K4 - 1u)];
}

fn staged(v: vec2<u32>, depth: Depth, i: u32) -> vec2<u32> {
  let out = normalised(vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)), depth, i);
  return vec2<u32>(pack2x16float(out.xy), pack2x16float(out.zw));
}

fn weightPart(k4: u32, k: u32, n4: u32) -> Elem4 {
  let columns = columnsOfWeight();
  if (EXACT) { return w[(k4 * columns + n4) * 4u + k]; }
  return w[(min(k4, p.K4 - 1u) * columns + min(n4, columns - 1u)) * 4u + k];
}
