// out[b, y, x, o] = (act(sum + bias[o] + shift[b, o]) + residual[b, y, x, o]) · scale,
//   sum = Σ_{r,s,i} in[b, y·stride + r·d − top, x·stride + s·d − left, i] · w[o, i, r, s];
// in is zero outside its map; d is the dilation. The pixels are shared within a subgroup.
//
// doubled = 1: in is the input with every pixel doubled both ways (nearest neighbour), H and W are those of the input
// itself.
// input [B, H, W, I], w [O, I, R, S] in 4×4 blocks, packed by `packConv` or, in strips, by `packConvStrips`,
// out [B, OH, OW, O]; channels are padded to vec4.
// Implicit matrix multiplication. A subgroup of SG lanes, which is a workgroup, computes 8·EIGHTS pixels (in reading
// order, over rows and batch items alike) × SG vec4 of output channels in registers: for every tap and i4 a lane loads
// its own channels' block of w, but only every SG-th pixel's vec4 of input, and shares that with the others. On
// processors a load per lane is what costs. Lanes beyond the edges work on clamped addresses, since all must take part,
// and store nothing. Accumulation in f32.
// A bias, shift or residual that is not there is bound to a few zeros, and reads beyond their end yield zeros too: one
// shader serves all.
//@use storage activation eights shareEight
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const EIGHTS = 2u;         // 1 … 4
const ACT = 0u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of the input
  W: u32,        // columns of the input
  I4: u32,       // vec4 per input pixel
  OH: u32,       // rows of the output
  OW: u32,       // columns of the output
  O4: u32,       // vec4 per output pixel
  strip: u32,    // of which so many have weights that stand together
  O: u32,        // output channels
  R: u32,        // rows of the kernel
  S: u32,        // columns of the kernel
  stride: u32,   // pixels, both ways
  dilation: u32, // pixels from tap to tap, both ways
  top: u32,      // rows of padding above
  left: u32,     // columns of padding on the left
  doubled: u32,  // 1: every pixel of the input counts as two by two
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [R, S, O4 / strip, I4, strip, 4]: 4 i of 4 o
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(3) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(4) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(5) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(6) var<uniform> p: Params;

// A pixel of the output: the input coordinates under the kernel's first tap, and the row at which its map starts.
// A coordinate below zero wraps to a huge one, so that a single comparison tells both edges.
struct Pixel { y: u32, x: u32, map: u32 }

fn pixel(m: u32) -> Pixel {
  let area = p.OH * p.OW;
  let i = min(m, p.B * area - 1u);
  let at = i % area;
  return Pixel((at / p.OW) * p.stride - p.top, (at % p.OW) * p.stride - p.left, (i / area) * p.H);
}

// Where a pixel's input under tap (r, s) starts, and whether it lies in the map.
struct Source { at: u32, inside: bool }

fn source(m: Pixel, r: u32, s: u32) -> Source {
  let y = m.y + r;
  let x = m.x + s;
  let at = (m.map + min(y >> p.doubled, p.H - 1u)) * p.W + min(x >> p.doubled, p.W - 1u);
  return Source(at * p.I4, y < p.H << p.doubled && x < p.W << p.doubled);
}

fn load(place: Source, i4: u32) -> vec4<f32> {
  return select(vec4<f32>(0.0), load4(input[place.at + i4]), place.inside);
}

fn loadRows(low: Source, high: Source, i4: u32) -> Rows {
  var y: vec4<f32>;
  if (SG == 4u) { y = load(high, i4); }
  return Rows(load(low, i4), y);
}

fn put(m: u32, o4: u32, sum: vec4<f32>) {
  var v = activate(sum + load4(shift[m / (p.OH * p.OW) * p.shift4 + p.shiftAt + o4]), ACT);
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.O)); }
  out[m * p.O4 + o4] = store4((v + load4(residual[m * p.O4 + o4])) * p.scale);
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let column = group.z * SG + lane;
  let o4 = min(column, p.O4 - 1u);
  let m0 = (group.x + group.y * groups.x) * 8u * EIGHTS;
  let low0 = pixel(m0 + lane);
  let high0 = pixel(m0 + 4u + lane);
  let low1 = pixel(m0 + 8u + lane);
  let high1 = pixel(m0 + 12u + lane);
  let low2 = pixel(m0 + 16u + lane);
  let high2 = pixel(m0 + 20u + lane);
  let low3 = pixel(m0 + 24u + lane);
  let high3 = pixel(m0 + 28u + lane);
  var e0 = eightTimes(bias[o4]);
  var e1 = e0;
  var e2 = e0;
  var e3 = e0;
  let strip = o4 / p.strip * p.strip;
  let step = min(p.strip, p.O4 - strip) * 4u;
  var at = (strip * p.I4 + o4 - strip) * 4u;
  var r = 0u;
  loop {
    var s = 0u;
    loop {
      let a0 = source(low0, r, s);
      let b0 = source(high0, r, s);
      let a1 = source(low1, r, s);
      let b1 = source(high1, r, s);
      let a2 = source(low2, r, s);
      let b2 = source(high2, r, s);
      let a3 = source(low3, r, s);
      let b3 = source(high3, r, s);
      var i4 = 0u;
      loop {
        // What is used first is loaded last, as in matmulSubgroup.
        var b: Block;
        b.w3 = load4(w[at + 3u]);
        b.w2 = load4(w[at + 2u]);
        b.w1 = load4(w[at + 1u]);
        b.w0 = load4(w[at]);
        at += step;
        let r0 = loadRows(a0, b0, i4);
        var r1: Rows;
        var r2: Rows;
        var r3: Rows;
        if (EIGHTS > 1u) { r1 = loadRows(a1, b1, i4); }
        if (EIGHTS > 2u) { r2 = loadRows(a2, b2, i4); }
        if (EIGHTS > 3u) { r3 = loadRows(a3, b3, i4); }
        e0 = shareEight(e0, r0, b);
        if (EIGHTS > 1u) { e1 = shareEight(e1, r1, b); }
        if (EIGHTS > 2u) { e2 = shareEight(e2, r2, b); }
        if (EIGHTS > 3u) { e3 = shareEight(e3, r3, b); }
        continuing { i4++; break if i4 >= p.I4; }
      }
      at += (p.O4 * 4u - step) * p.I4;
      continuing { s += p.dilation; break if s >= p.S * p.dilation; }
    }
    continuing { r += p.dilation; break if r >= p.R * p.dilation; }
  }
  if (column >= p.O4) { return; }
  e0 = settle(e0, lane);
  if (EIGHTS > 1u) { e1 = settle(e1, lane); }
  if (EIGHTS > 2u) { e2 = settle(e2, lane); }
  if (EIGHTS > 3u) { e3 = settle(e3, lane); }
  let end = min(m0 + 8u * EIGHTS, p.B * p.OH * p.OW);
  var m = m0;
  loop {
    put(m, o4, e0.s0);
    e0 = shiftEight(e0, e1.s0);
    if (EIGHTS > 1u) { e1 = shiftEight(e1, e2.s0); }
    if (EIGHTS > 2u) { e2 = shiftEight(e2, e3.s0); }
    if (EIGHTS > 3u) { e3 = shiftEight(e3, e3.s0); }
    continuing { m++; break if m >= end; }
  }
}
