// v[6i + j, t, c] = (Bᵀ d B)[i, j], d the 6×6 pixels under output tile t (4×4 pixels) of channel c: the input of F(4×4,
// 3×3).
//
// input [B, H, W, A4], v [36, tiles, I4] f32, of whose channels input's are A4 vec4 from p.at on: two tensors that are
// convolved as one are dispatched one by one. Tiles are counted over batch, rows and columns. An invocation transforms
// one tile of one vec4 of channels in registers; a workgroup takes WG of them in order. Pixels outside the map are
// zero.
// NORM: d is of act((in − mean) · scale + beta) instead, affine [B, 2, I4] as groupNormFinalise leaves it; outside the
// map it is zero then, too.
// doubled = 1: d is taken from the input with every pixel doubled both ways (nearest neighbour); H and W are those of
// the input.
// Sums in f32, and stored so, since the transform grows values up to thirtyfold. Lavin & Gray 2015, section 4.2, with
// the points 0, ±3/4, ±3/2, ∞ in place of 0, ±1, ±2, ∞: all factors are exact, and results err half as much
// (winograd.ts).
// FIXED: the lengths of loops are known, for compilers of GPUs: they unroll them and have all in registers. Those of
// processors, which would take long for that, must not know them.
//@use storage activation normIn
const WG = 64u;
const FIXED = false;
const NORM = false;
const NORM_ACT = 0u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of the input
  W: u32,        // columns of the input
  A4: u32,       // vec4 per input pixel
  I4: u32,       // vec4 per pixel of all that are convolved
  at: u32,       // vec4 in front of input's
  I: u32,        // channels of all
  TH: u32,       // tiles from top to bottom
  TW: u32,       // tiles from left to right
  top: u32,      // rows of padding above
  left: u32,     // columns of padding on the left
  tiles: u32,    // of this dispatch
  first: u32,    // tiles in front of them
  edge: u32,     // 6: pixels along the edge of what a tile reads
  doubled: u32,  // 1: every pixel of the input counts as two by two
  acts: u32,     // 1: act is applied
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;                   // [B, H, W, A4]
@group(0) @binding(1) var<storage, read> affine: array<vec4<f32>>;              // [B, 2, I4]
@group(0) @binding(2) var<storage, read> beta: array<vec4<f32>>;                // [I4]
@group(0) @binding(3) var<storage, read_write> v: array<vec4<f32>>;             // [36, tiles, I4]
@group(0) @binding(4) var<uniform> p: Params;

struct Six { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32> }

// Bᵀ times six values.
fn transform(d: Six) -> Six {
  let evenNear = d.e - 2.25 * d.c;
  let oddNear = 0.75 * (d.d - 2.25 * d.b);
  let evenFar = d.e - 0.5625 * d.c;
  let oddFar = 1.5 * (d.d - 0.5625 * d.b);
  return Six(
    1.265625 * d.a - 2.8125 * d.c + d.e, evenNear + oddNear, evenNear - oddNear, evenFar + oddFar, evenFar - oddFar,
    1.265625 * d.b - 2.8125 * d.d + d.f);
}

// Row y of a map, from its x-th pixel on, times B. A coordinate below zero wraps to a huge one, so that one comparison
// tells both edges. One load in a loop of unknown length, behind which values move up: six in a row would take long to
// compile on some drivers.
fn row(map: u32, y: u32, x: u32, c: u32, norm: Norm) -> Six {
  let line = (map * p.H + min(y >> p.doubled, p.H - 1u)) * p.W;
  let inside = y < p.H << p.doubled;
  var d: Six;
  var j = 0u;
  loop {
    let v = normalised(load4(input[(line + min((x + j) >> p.doubled, p.W - 1u)) * p.A4 + c]), norm);
    d = Six(d.b, d.c, d.d, d.e, d.f, select(vec4<f32>(0.0), v, inside && x + j < p.W << p.doubled));
    continuing { j++; break if j >= select(p.edge, 6u, FIXED); }
  }
  return transform(d);
}

// Column j of Bᵀ d B, from that of d B.
fn putColumn(j: u32, size: u32, to: u32, d: Six) {
  let r = transform(d);
  v[j * size + to] = r.a;
  v[(j + 6u) * size + to] = r.b;
  v[(j + 12u) * size + to] = r.c;
  v[(j + 18u) * size + to] = r.d;
  v[(j + 24u) * size + to] = r.e;
  v[(j + 30u) * size + to] = r.f;
}

// sums + factor · row
fn madd(sums: Six, factor: f32, row: Six) -> Six {
  return Six(
    sums.a + factor * row.a, sums.b + factor * row.b, sums.c + factor * row.c, sums.d + factor * row.d,
    sums.e + factor * row.e, sums.f + factor * row.f);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  if (index >= p.tiles * p.A4) { return; }
  let c = index % p.A4;
  let tile = p.first + index / p.A4;
  let map = tile / (p.TH * p.TW);
  let y = (tile / p.TW % p.TH) * 4u - p.top;
  let x = (tile % p.TW) * 4u - p.left;
  let c4 = p.at + c;
  let norm = normOf(map, c4);
  let size = p.tiles * p.I4;
  let to = index / p.A4 * p.I4 + c4;
  // Rows and then columns: an array of them all, written in a loop, would be left in memory.
  if (FIXED) {
    let r0 = row(map, y, x, c, norm);
    let r1 = row(map, y + 1u, x, c, norm);
    let r2 = row(map, y + 2u, x, c, norm);
    let r3 = row(map, y + 3u, x, c, norm);
    let r4 = row(map, y + 4u, x, c, norm);
    let r5 = row(map, y + 5u, x, c, norm);
    putColumn(0u, size, to, Six(r0.a, r1.a, r2.a, r3.a, r4.a, r5.a));
    putColumn(1u, size, to, Six(r0.b, r1.b, r2.b, r3.b, r4.b, r5.b));
    putColumn(2u, size, to, Six(r0.c, r1.c, r2.c, r3.c, r4.c, r5.c));
    putColumn(3u, size, to, Six(r0.d, r1.d, r2.d, r3.d, r4.d, r5.d));
    putColumn(4u, size, to, Six(r0.e, r1.e, r2.e, r3.e, r4.e, r5.e));
    putColumn(5u, size, to, Six(r0.f, r1.f, r2.f, r3.f, r4.f, r5.f));
    return;
  }
  var v0: Six;
  var v1: Six;
  var v2: Six;
  var v3: Six;
  var v4: Six;
  var v5: Six;
  // Loops of unknown length stay loops: six copies of a row's loads would take seconds to compile on some drivers.
  var i = 0u;
  loop {
    let r = row(map, y + i, x, c, norm);
    // Row i of B.
    var even = vec3<f32>(0.0);
    var odd = vec3<f32>(0.0);
    if (i == 0u) { even.x = 1.265625; }
    if (i == 1u) { odd = vec3<f32>(1.265625, -1.6875, -0.84375); }
    if (i == 2u) { even = vec3<f32>(-2.8125, -2.25, -0.5625); }
    if (i == 3u) { odd = vec3<f32>(-2.8125, 0.75, 1.5); }
    if (i == 4u) { even = vec3<f32>(1.0); }
    if (i == 5u) { odd.x = 1.0; }
    v0 = madd(v0, even.x, r);
    v1 = madd(v1, even.y + odd.y, r);
    v2 = madd(v2, even.y - odd.y, r);
    v3 = madd(v3, even.z + odd.z, r);
    v4 = madd(v4, even.z - odd.z, r);
    v5 = madd(v5, odd.x, r);
    continuing { i++; break if i >= p.edge; }
  }
  var all = array<vec4<f32>, 36>(
    v0.a, v0.b, v0.c, v0.d, v0.e, v0.f, v1.a, v1.b, v1.c, v1.d, v1.e, v1.f, v2.a, v2.b, v2.c, v2.d, v2.e, v2.f,
    v3.a, v3.b, v3.c, v3.d, v3.e, v3.f, v4.a, v4.b, v4.c, v4.d, v4.e, v4.f, v5.a, v5.b, v5.c, v5.d, v5.e, v5.f);
  i = 0u;
  loop { v[i * size + to] = all[i]; continuing { i++; break if i >= p.edge * p.edge; } }
}
