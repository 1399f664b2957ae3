// out[b, y, x, o] = (act(Σ_{r,s,i} in[b, y·stride + r·d − top, x·stride + s·d − left, i] · w[o, i, r, s] + bias[o] + shift[b, o])
//                   + residual[b, y, x, o]) · scale; in is zero outside its map; d is the dilation.
//
// The pixels are shared within a subgroup.
// input [B, H, W, I], w [O, I, R, S] packed by `packConv` into 4×4 blocks, out [B, OH, OW, O]; channels are padded to vec4.
// Implicit matrix multiplication. A subgroup of SG lanes computes eight pixels (in reading order, over rows and batch items
// alike) × SG vec4 of output channels in registers: for every tap and i4 a lane loads its own channels' block of w, but only
// every SG-th pixel's vec4 of input, and hands that to the others by subgroupBroadcast. On processors a load per lane is
// what costs, and this needs 8 / SG + 4 of them for 128 multiply-adds. The sums have names, since an array of them would lie
// in memory on drivers that do not unroll. A workgroup is SUBS subgroups with consecutive pixels. Lanes beyond the edges
// work on clamped addresses, since all must take part, and store nothing.
// Takes subgroups for runs of SG consecutive invocations. Accumulation in f32.
//@use storage activation
enable subgroups;
const SG = 8u;             // 4 or 8: the width of a subgroup
const SUBS = 1u;
const WG = 8u;             // SG · SUBS
const ACT = 0u;
const HAS_BIAS = true;
const HAS_SHIFT = false;
const HAS_RESIDUAL = false;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of the input
  W: u32,        // columns of the input
  I4: u32,       // vec4 per input pixel
  OH: u32,       // rows of the output
  OW: u32,       // columns of the output
  O4: u32,       // vec4 per output pixel
  O: u32,        // output channels
  R: u32,        // rows of the kernel
  S: u32,        // columns of the kernel
  stride: u32,   // pixels, both ways
  dilation: u32, // pixels from tap to tap, both ways
  top: u32,      // rows of padding above
  left: u32,     // columns of padding on the left
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [R, S, I4, O4, 4]: a block holds four i of four o
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(3) var<storage, read> shift: array<Elem4>;           // [B, O4]
@group(0) @binding(4) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(5) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(6) var<uniform> p: Params;

// Pixels 4 … 7 are held by lanes 4 … 7 of the one load where a subgroup has eight, by lanes 0 … 3 of a second one otherwise.
const FIFTH = 4u % SG;

// A pixel of the output: the input coordinates under the kernel's first tap, and the row at which its map starts.
// A coordinate below zero wraps to a huge one, so that a single comparison tells both edges.
struct Pixel { y: u32, x: u32, map: u32 }

fn pixel(m: u32) -> Pixel {
  let area = p.OH * p.OW;
  let i = min(m, p.B * area - 1u);
  let at = i % area;
  return Pixel((at / p.OW) * p.stride - p.top, (at % p.OW) * p.stride - p.left, (i / area) * p.H);
}

// sum + x · (the 4×4 block of rows w0 … w3)
fn madd(sum: vec4<f32>, x: vec4<f32>, w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32>) -> vec4<f32> {
  return sum + x.x * w0 + x.y * w1 + x.z * w2 + x.w * w3;
}

fn put(m: u32, o4: u32, sum: vec4<f32>) {
  var v = sum;
  if (HAS_SHIFT) { v += load4(shift[(m / (p.OH * p.OW)) * p.O4 + o4]); }
  v = activate(v, ACT);
  // The only activation that makes padding lanes non-zero.
  if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.O)); }
  if (HAS_RESIDUAL) { v += load4(residual[m * p.O4 + o4]); }
  out[m * p.O4 + o4] = store4(v * p.scale);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) index: u32) {
  let lane = index % SG;
  let column = group.x * SG + lane;
  let o4 = min(column, p.O4 - 1u);
  let m0 = ((group.y + group.z * groups.y) * SUBS + index / SG) * 8u;
  let low = pixel(m0 + lane);
  let high = pixel(m0 + 4u + lane);
  var s0 = vec4<f32>(0.0);
  if (HAS_BIAS) { s0 = bias[o4]; }
  var s1 = s0;
  var s2 = s0;
  var s3 = s0;
  var s4 = s0;
  var s5 = s0;
  var s6 = s0;
  var s7 = s0;
  var at = o4 * 4u;
  for (var r = 0u; r < p.R * p.dilation; r += p.dilation) {
    for (var s = 0u; s < p.S * p.dilation; s += p.dilation) {
      let inLow = low.y + r < p.H && low.x + s < p.W;
      let inHigh = high.y + r < p.H && high.x + s < p.W;
      let atLow = ((low.map + min(low.y + r, p.H - 1u)) * p.W + min(low.x + s, p.W - 1u)) * p.I4;
      let atHigh = ((high.map + min(high.y + r, p.H - 1u)) * p.W + min(high.x + s, p.W - 1u)) * p.I4;
      for (var i4 = 0u; i4 < p.I4; i4++) {
        let w0 = load4(w[at]);
        let w1 = load4(w[at + 1u]);
        let w2 = load4(w[at + 2u]);
        let w3 = load4(w[at + 3u]);
        at += p.O4 * 4u;
        let x = select(vec4<f32>(0.0), load4(input[atLow + i4]), inLow);
        var y = x;
        if (SG == 4u) { y = select(vec4<f32>(0.0), load4(input[atHigh + i4]), inHigh); }
        s0 = madd(s0, subgroupBroadcast(x, 0u), w0, w1, w2, w3);
        s1 = madd(s1, subgroupBroadcast(x, 1u), w0, w1, w2, w3);
        s2 = madd(s2, subgroupBroadcast(x, 2u), w0, w1, w2, w3);
        s3 = madd(s3, subgroupBroadcast(x, 3u), w0, w1, w2, w3);
        s4 = madd(s4, subgroupBroadcast(y, FIFTH), w0, w1, w2, w3);
        s5 = madd(s5, subgroupBroadcast(y, FIFTH + 1u), w0, w1, w2, w3);
        s6 = madd(s6, subgroupBroadcast(y, FIFTH + 2u), w0, w1, w2, w3);
        s7 = madd(s7, subgroupBroadcast(y, FIFTH + 3u), w0, w1, w2, w3);
      }
    }
  }
  if (column >= p.O4) { return; }
  // A loop of unknown length stays a loop: eight copies of what follows would take longer to compile than all before.
  let end = min(m0 + 8u, p.B * p.OH * p.OW);
  var sums = array<vec4<f32>, 8>(s0, s1, s2, s3, s4, s5, s6, s7);
  for (var m = m0; m < end; m++) { put(m, o4, sums[m - m0]); }
}
