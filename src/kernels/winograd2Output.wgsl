// out = (act(Aᵀ m A + bias + shift) + residual) · scale, m the 4×4 products of a tile: the output of F(2×2, 3×3).
//
// m [16, tiles, O4] f32, out [B, OH, OW, O4]; tiles are counted over batch, rows and columns. An invocation transforms
// one tile (2×2 pixels) of one vec4 of channels in registers; a workgroup takes WG of them in order. Sums in f32. Lavin
// & Gray 2015, section 4.1.
// What is not there, be it bias, shift or residual, is bound to a few zeros, and reads beyond their end yield zeros
// too: loads behind conditions take longer on drivers whose lanes run in step.
// FIXED: the lengths of loops are known, as in the input's transform.
//@use storage activation
const WG = 64u;
const FIXED = false;
const ACT = 0u;

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

// Row i of m, times A. One load in a loop of unknown length, behind which values move up: four in a row would take long
// to compile on some drivers.
fn row(i: u32, size: u32, index: u32) -> mat2x4<f32> {
  var m0: vec4<f32>;
  var m1: vec4<f32>;
  var m2: vec4<f32>;
  var m3: vec4<f32>;
  var j = 0u;
  loop {
    m0 = m1;
    m1 = m2;
    m2 = m3;
    m3 = m[(4u * i + j) * size + index];
    continuing { j++; break if j >= select(p.edge, 4u, FIXED); }
  }
  return mat2x4<f32>(m0 + m1 + m2, m1 - m2 - m3);
}

fn put(at: u32, o4: u32, sum: vec4<f32>) {
  var v = activate(sum, ACT);
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.O)); }
  out[at] = store4((v + load4(residual[at])) * p.scale);
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
  var i = 0u;
  loop {
    let r = row(i, size, index);
    if (i < 3u) { s0 += r; }
    if (i == 1u) { s1 += r; }
    if (i > 1u) { s1 -= r; }
    continuing { i++; break if i >= select(p.edge, 4u, FIXED); }
  }
  let add = bias[o4] + load4(shift[map * p.shift4 + p.shiftAt + o4]);
  var sums = array<vec4<f32>, 4>(s0[0], s0[1], s1[0], s1[1]);
  let rows = min(2u, p.OH - y);
  let columns = min(2u, p.OW - x);
  i = 0u;
  loop {
    let r = i / columns;
    let s = i % columns;
    put(((map * p.OH + y + r) * p.OW + x + s) * p.O4 + o4, o4, sums[2u * r + s] + add);
    continuing { i++; break if i >= rows * columns; }
  }
}
