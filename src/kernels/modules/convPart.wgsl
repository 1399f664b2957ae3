// Pixels as the rows of a matrix, in reading order over rows and batch items alike, four k being four channels under
// one tap: what `modules/matrix.wgsl` asks of a kernel. The kernel declares EXACT (no edges but those of the map), UP,
// the bindings input [B, H, W, I4] and w [R, S, I4, O4, 4], and in Params B, H, W, I4, OH, OW, O4, R, S, stride,
// dilation, top, left. A place along a row goes from tap to tap by additions: divisions, one per load, would cost more
// than the products.
struct Row {
  pixels: u32, // pixels of the input in front of its batch item
  y: u32,      // where the window begins; below zero wraps
  x: u32,
}

struct Depth {
  k4: u32,
  i4: u32, // vec4 of channels
  y: u32,  // the tap's distance from the beginning of the window
  x: u32,
}

fn rowOf(m: u32) -> Row {
  let area = p.OH * p.OW;
  var pixel = m;
  if (!EXACT) { pixel = min(m, p.B * area - 1u); }
  let item = pixel / area;
  let place = pixel - item * area;
  let y = place / p.OW;
  return Row(item * p.H * p.W, y * p.stride - p.top, (place - y * p.OW) * p.stride - p.left);
}

fn depthOf(k4: u32) -> Depth {
  let tap = k4 / p.I4;
  return Depth(k4, k4 % p.I4, tap / p.S * p.dilation, tap % p.S * p.dilation);
}

fn deeper(depth: Depth) -> Depth {
  var d = depth;
  d.k4 += K4S;
  d.i4 += K4S;
  for (var i = 0u; i < K4S; i++) {
    if (d.i4 < p.I4) { break; }
    d.i4 -= p.I4;
    d.x += p.dilation;
    if (d.x == p.S * p.dilation) {
      d.x = 0u;
      d.y += p.dilation;
    }
  }
  return d;
}

// A coordinate below zero wraps to a huge one, so that a single comparison tells both edges. What lies outside loads
// the first element and forgets it, which needs no branch.
fn rowPart(row: Row, depth: Depth) -> Elem4 {
  let y = row.y + depth.y;
  let x = row.x + depth.x;
  let inside = y < p.H * UP && x < p.W * UP && (EXACT || depth.k4 < p.R * p.S * p.I4);
  let at = (row.pixels + y / UP * p.W + x / UP) * p.I4 + depth.i4;
  return select(Elem4(), input[select(0u, at, inside)], inside);
}

fn staged(v: vec2<u32>, depth: Depth, i: u32) -> vec2<u32> { return v; }

fn weightPart(k4: u32, k: u32, n4: u32) -> Elem4 {
  if (EXACT) { return w[(k4 * p.O4 + n4) * 4u + k]; }
  return w[(min(k4, p.R * p.S * p.I4 - 1u) * p.O4 + min(n4, p.O4 - 1u)) * 4u + k];
}
