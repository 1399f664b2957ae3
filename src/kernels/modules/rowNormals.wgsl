// Rows that are normalised on their way into a tile: (v − mean) / √(variance + eps), times the first vector of affine
// plus the second, or times 1 + scale plus shift of the item that a row belongs to. A row's mean and variance are found
// before the product, by the K4S neighbouring invocations that will bring it in, and stay in their registers.
//
// Each takes every K4S-th vec4 of its rows, AHEAD of each at a time: mean and sum of squares about it of what is on its
// way, joined to those of what came before (Chan, Golub & LeVeque 1979, equation 2.1); then they join theirs through
// workgroup memory. A mean far above the deviation, or one element far above all others, costs no precision. f32.
//
// The kernel declares WG, the size of its workgroup; K4S; ROW_LOADS, the rows that an invocation brings in, WG / K4S
// apart;
// EXACT and RAGGED, whether rows end within a vec4; HAS_AFFINE, HAS_VECTORS; the bindings a [M, K4], affine [2, K4] and
// vectors [B, stride]; in Params M, K, K4, eps, stride, itemRows, scaleAt, shiftAt; and leave(at, v) and left(at),
// pairs in workgroup memory at 0 … WG · ROW_LOADS − 1, which the product uses only behind a barrier.
const AHEAD = 16u / ROW_LOADS;

var<private> normals: array<vec2<f32>, ROW_LOADS>;  // mean and 1/√(variance + eps)
var<private> items: array<u32, ROW_LOADS>;          // where the vectors of a row's item begin

// Elements of a row that the `part`th of its invocations takes.
fn countOf(part: u32) -> f32 {
  let whole = p.K / 4u;
  return f32(4u * ((whole + K4S - 1u - part) / K4S) + select(0u, p.K % 4u, whole % K4S == part));
}

// Before anything else: the rows from m0 on. Holds a barrier.
fn findNormals(m0: u32, lane: u32) {
  let part = lane % K4S;
  let whole = p.K / 4u;
  var bases: array<u32, ROW_LOADS>;
  var means: array<f32, ROW_LOADS>;
  var squares: array<f32, ROW_LOADS>;
  for (var i = 0u; i < ROW_LOADS; i++) {
    let row = min(m0 + lane / K4S + i * (WG / K4S), p.M - 1u);
    bases[i] = row * p.K4;
    if (HAS_VECTORS) { items[i] = row / p.itemRows * p.stride; }
    means[i] = 0.0;
    squares[i] = 0.0;
  }
  var n = 0.0;
  var k4 = part;
  for (; k4 + (AHEAD - 1u) * K4S < whole; k4 += AHEAD * K4S) {
    var v: array<vec4<f32>, AHEAD * ROW_LOADS>;
    for (var i = 0u; i < ROW_LOADS; i++) {
      for (var j = 0u; j < AHEAD; j++) { v[i * AHEAD + j] = load4(a[bases[i] + k4 + j * K4S]); }
    }
    const COUNT = f32(4u * AHEAD);
    let share = COUNT / (n + COUNT);
    for (var i = 0u; i < ROW_LOADS; i++) {
      var total = vec4<f32>(0.0);
      for (var j = 0u; j < AHEAD; j++) { total += v[i * AHEAD + j]; }
      let mean = dot(total, vec4<f32>(1.0 / COUNT));
      var spread = vec4<f32>(0.0);
      for (var j = 0u; j < AHEAD; j++) {
        let e = v[i * AHEAD + j] - mean;
        spread = fma(e, e, spread);
      }
      let off = mean - means[i];
      squares[i] += dot(spread, vec4<f32>(1.0)) + off * off * n * share;
      means[i] += off * share;
    }
    n += COUNT;
  }
  for (; k4 < p.K4; k4 += K4S) {
    let inside = 4u * k4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.K);
    let count = f32(min(p.K - 4u * k4, 4u));
    let share = count / (n + count);
    for (var i = 0u; i < ROW_LOADS; i++) {
      let v = load4(a[bases[i] + k4]);
      let mean = dot(v, vec4<f32>(1.0)) / count;
      let e = select(vec4<f32>(0.0), v - mean, inside);
      let off = mean - means[i];
      squares[i] += dot(e, e) + off * off * n * share;
      means[i] += off * share;
    }
    n += count;
  }
  for (var i = 0u; i < ROW_LOADS; i++) { leave(lane + i * WG, vec2<f32>(means[i], squares[i])); }
  workgroupBarrier();
  for (var i = 0u; i < ROW_LOADS; i++) {
    var mean = 0.0;
    var square = 0.0;
    var before = 0.0;
    for (var j = 0u; j < K4S; j++) {
      let theirs = left(lane - part + j + i * WG);
      let count = countOf(j);
      // Of short rows some have nothing.
      let share = count / max(before + count, 1.0);
      let off = theirs.x - mean;
      square += theirs.y + off * off * before * share;
      mean += off * share;
      before += count;
    }
    normals[i] = vec2<f32>(mean, 1.0 / sqrt(square / f32(p.K) + p.eps));
  }
}

// Vec4 k4 of the i-th row that an invocation brings in; zeros beyond the last.
fn normalised(v: vec4<f32>, k4: u32, i: u32) -> vec4<f32> {
  if (!EXACT && k4 >= p.K4) { return vec4<f32>(0.0); }
  var out = (v - normals[i].x) * normals[i].y;
  if (HAS_AFFINE) { out = fma(out, affine[k4], affine[p.K4 + k4]); }
  if (HAS_VECTORS) {
    out = fma(out, 1.0 + load4(vectors[items[i] + p.scaleAt + k4]), load4(vectors[items[i] + p.shiftAt + k4]));
  }
  if (RAGGED) { out = select(vec4<f32>(0.0), out, 4u * k4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.K)); }
  return out;
}
