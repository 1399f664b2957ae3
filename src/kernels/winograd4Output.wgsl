// out = (act(Aᵀ m A + bias + shift) + residual) · scale, m the 6×6 products of a tile: the output of F(4×4, 3×3).
//
// m [36, tiles, O4] f32, out [B, OH, OW, O4]; tiles are counted over batch, rows and columns. An invocation transforms
// one tile (4×4 pixels) of one vec4 of channels in registers; a workgroup takes WG of them in order. Sums in f32. Lavin
// & Gray 2015, section 4.2, with the points 0, ±3/4, ±3/2, ∞ (see winograd4Input.wgsl).
// What is not there, be it bias, shift or residual, is bound to a few zeros, and reads beyond their end yield zeros
// too: loads behind conditions take longer on drivers whose lanes run in step.
// STATS: beside it, mean and M2 = Σ (x − mean)² of what is stored of each tile and channel, as groupNormStats has them
// of its chunks, by sums of d = x − x₀ and d² with x₀ the tile's first pixel: M2 = Σ d² − (Σ d)² / n loses four bits at
// most, since x₀ is one of the n ≤ 16 values, and so (Σ d)² / n = n (mean − x₀)² ≤ (n − 1) · M2. f32.
// FIXED: the lengths of loops are known, as in the input's transform.
//@use storage activation
const WG = 64u;
const FIXED = false;
const ACT = 0u;
const STATS = false;

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
  edge: u32,     // 6: products along the edge of a tile
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> m: array<vec4<f32>>;           // [36, tiles, O4]
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(2) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(3) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(5) var<storage, read_write> stats: array<vec4<f32>>; // [B, TH, TW, 2, O4]
@group(0) @binding(6) var<uniform> p: Params;

// Row i of m, times A. One load in a loop of unknown length, behind which values move up: six in a row would take long
// to compile on some drivers.
fn row(i: u32, size: u32, index: u32) -> mat4x4<f32> {
  var m0: vec4<f32>;
  var m1: vec4<f32>;
  var m2: vec4<f32>;
  var m3: vec4<f32>;
  var m4: vec4<f32>;
  var m5: vec4<f32>;
  var j = 0u;
  loop {
    m0 = m1;
    m1 = m2;
    m2 = m3;
    m3 = m4;
    m4 = m5;
    m5 = m[(6u * i + j) * size + index];
    continuing { j++; break if j >= select(p.edge, 6u, FIXED); }
  }
  let near = m1 + m2;
  let far = m3 + m4;
  let step = 0.75 * (m1 - m2);
  let stride = 1.5 * (m3 - m4);
  return mat4x4<f32>(m0 + near + far, step + stride, 0.5625 * near + 2.25 * far, 0.5625 * step + 2.25 * stride + m5);
}

// What is stored.
fn put(at: u32, o4: u32, sum: vec4<f32>) -> vec4<f32> {
  var v = activate(sum, ACT);
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.O)); }
  let stored = store4((v + load4(residual[at])) * p.scale);
  out[at] = stored;
  return load4(stored);
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
  let y = (tile / p.TW % p.TH) * 4u;
  let x = (tile % p.TW) * 4u;
  var s0: mat4x4<f32>;
  var s1: mat4x4<f32>;
  var s2: mat4x4<f32>;
  var s3: mat4x4<f32>;
  // Loops of unknown length stay loops: six copies of a row's loads would take seconds to compile on some drivers.
  var i = 0u;
  loop {
    let r = row(i, size, index);
    // Row i of A: powers of the point.
    var point = 0.0;
    if (i == 1u) { point = 0.75; }
    if (i == 2u) { point = -0.75; }
    if (i == 3u) { point = 1.5; }
    if (i == 4u) { point = -1.5; }
    if (i == 5u) {
      s3 += r;
    } else {
      s0 += r;
      s1 += point * r;
      s2 += (point * point) * r;
      s3 += (point * point * point) * r;
    }
    continuing { i++; break if i >= select(p.edge, 6u, FIXED); }
  }
  let add = bias[o4] + load4(shift[map * p.shift4 + p.shiftAt + o4]);
  var sums = array<vec4<f32>, 16>(
    s0[0], s0[1], s0[2], s0[3], s1[0], s1[1], s1[2], s1[3], s2[0], s2[1], s2[2], s2[3], s3[0], s3[1], s3[2], s3[3]);
  let rows = min(4u, p.OH - y);
  let columns = min(4u, p.OW - x);
  var origin = vec4<f32>(0.0);
  var sum = vec4<f32>(0.0);
  var squares = vec4<f32>(0.0);
  i = 0u;
  loop {
    let r = i / columns;
    let s = i % columns;
    let v = put(((map * p.OH + y + r) * p.OW + x + s) * p.O4 + o4, o4, sums[4u * r + s] + add);
    if (STATS) {
      origin = select(origin, v, i == 0u);
      let d = v - origin;
      sum += d;
      squares = fma(d, d, squares);
    }
    continuing { i++; break if i >= rows * columns; }
  }
  if (STATS) {
    let mean = sum / f32(rows * columns);
    stats[tile * 2u * p.O4 + o4] = origin + mean;
    stats[tile * 2u * p.O4 + p.O4 + o4] = max(squares - sum * mean, vec4<f32>(0.0));
  }
}
