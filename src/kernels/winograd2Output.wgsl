// out = (act(Aᵀ m A + bias + shift) + residual) · scale, m the 4×4 products of a tile: the output of F(2×2, 3×3).
//
// m [16, tiles, O4] f32, out [B, OH, OW, O4]; tiles are counted over batch, rows and columns. An invocation transforms one
// tile (2×2 pixels) of one vec4 of channels in registers; a workgroup takes WG of them in order. Sums in f32.
// Lavin & Gray 2015, section 4.1.
//@use storage activation
const WG = 64u;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_SHIFT = false;
const HAS_RESIDUAL = false;

struct Params {
  B: u32,        // batch
  OH: u32,       // rows of the output
  OW: u32,       // columns of the output
  O4: u32,       // vec4 per output pixel
  O: u32,        // output channels
  TH: u32,       // tiles from top to bottom
  TW: u32,       // tiles from left to right
  tiles: u32,    // of this dispatch
  first: u32,    // tiles in front of them
  edge: u32,     // 4: products along the edge of a tile
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> m: array<vec4<f32>>;           // [16, tiles, O4]
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(2) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(3) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(5) var<uniform> p: Params;

// Row i of m, times A.
fn row(i: u32, size: u32, at: u32) -> mat2x4<f32> {
  let start = 4u * i * size + at;
  let m0 = m[start];
  let m1 = m[start + size];
  let m2 = m[start + 2u * size];
  let m3 = m[start + 3u * size];
  return mat2x4<f32>(m0 + m1 + m2, m1 - m2 - m3);
}

fn put(at: u32, o4: u32, sum: vec4<f32>) {
  var v = activate(sum, ACT);
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.O)); }
  if (HAS_RESIDUAL) { v += load4(residual[at]); }
  out[at] = store4(v * p.scale);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  let size = p.tiles * p.O4;
  if (index >= size) { return; }
  let o4 = index % p.O4;
  let tile = p.first + index / p.O4;
  let map = tile / (p.TH * p.TW);
  let y = (tile / p.TW % p.TH) * 2u;
  let x = (tile % p.TW) * 2u;
  var s0: mat2x4<f32>;
  var s1: mat2x4<f32>;
  // Loops of unknown length stay loops: four copies of a row's loads would take long to compile on some drivers.
  for (var i = 0u; i < p.edge; i++) {
    let r = row(i, size, index);
    if (i < 3u) { s0 += r; }
    if (i == 1u) { s1 += r; }
    if (i > 1u) { s1 -= r; }
  }
  var add = vec4<f32>(0.0);
  if (HAS_BIAS) { add = bias[o4]; }
  if (HAS_SHIFT) { add += load4(shift[map * p.shift4 + p.shiftAt + o4]); }
  var sums = array<mat2x4<f32>, 2>(s0, s1);
  let rows = min(2u, p.OH - y);
  let columns = min(2u, p.OW - x);
  for (var i = 0u; i < rows * columns; i++) {
    let r = i / columns;
    let s = i % columns;
    put(((map * p.OH + y + r) * p.OW + x + s) * p.O4 + o4, o4, sums[r][s] + add);
  }
}
