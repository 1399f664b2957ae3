// out[b, y, x, o] = (act(sum + bias[o] + shift[b, o]) + residual[b, y, x, o]) · scale,
//   sum = Σ_{r,s,i} in[b, y·stride + r·d − top, x·stride + s·d − left, i] · w[o, i, r, s];
// in is zero outside its map; d is the dilation.
//
// NORM: in is act((input − mean) · scale + beta), affine [B, 2, I4] as groupNormFinalise leaves it; with every load
// anew.
// UP = 2: in is the input with every pixel doubled both ways (nearest neighbour), H and W are those of the input
// itself.
// input [B, H, W, I], w [O, I, R, S] packed by `packConv` into 4×4 blocks, out [B, OH, OW, O]; channels are padded to
// vec4.
// Implicit matrix multiplication: an invocation computes PIXELS consecutive pixels of one output
// row × one vec4 of output channels in registers; a workgroup covers WG_O vec4 of channels × WG_P such runs of pixels.
// No workgroup memory: neighbours in o read the same pixels through the cache. Accumulation in f32.
//@use storage activation normIn
const PIXELS = 4u;
const WG_O = 8u;
const WG_P = 8u;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_SHIFT = false;
const HAS_RESIDUAL = false;
const UP = 1u;
const NORM = false;
const NORM_ACT = 0u;

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
  shift4: u32,   // vec4 per row of shift
  shiftAt: u32,  // vec4 in front of the shift in it
  I: u32,        // input channels
  acts: u32,     // with NORM, 1: act is applied
  scale: f32,    // applied last
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [R, S, I4, O4, 4]: blocks of four i of four o
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(3) var<storage, read> shift: array<Elem4>;           // [B, shift4]
@group(0) @binding(4) var<storage, read> residual: array<Elem4>;        // [B, OH, OW, O4]
@group(0) @binding(5) var<storage, read> affine: array<vec4<f32>>;      // [B, 2, I4]
@group(0) @binding(6) var<storage, read> beta: array<vec4<f32>>;        // [I4]
@group(0) @binding(7) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(8) var<uniform> p: Params;

@compute @workgroup_size(WG_O, WG_P)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let o4 = group.x * WG_O + local.x;
  let runs = (p.OW + PIXELS - 1u) / PIXELS;
  let run = (group.y + group.z * groups.y) * WG_P + local.y;
  if (o4 >= p.O4 || run >= p.B * p.OH * runs) { return; }
  let ox = (run % runs) * PIXELS;
  let line = run / runs;
  let oy = line % p.OH;
  let b = line / p.OH;
  var acc: array<vec4<f32>, PIXELS>;
  var base: array<u32, PIXELS>;
  var inside: array<bool, PIXELS>;
  for (var j = 0u; j < PIXELS; j++) { acc[j] = vec4<f32>(0.0); }
  for (var r = 0u; r < p.R; r++) {
    // A coordinate below zero wraps to a huge one, so that a single comparison tells both edges.
    let iy = oy * p.stride + r * p.dilation - p.top;
    if (iy >= p.H * UP) { continue; }
    for (var s = 0u; s < p.S; s++) {
      for (var j = 0u; j < PIXELS; j++) {
        let ix = (ox + j) * p.stride + s * p.dilation - p.left;
        inside[j] = ix < p.W * UP;
        base[j] = ((b * p.H + iy / UP) * p.W + min(ix / UP, p.W - 1u)) * p.I4;
      }
      var at = ((r * p.S + s) * p.I4 * p.O4 + o4) * 4u;
      for (var i4 = 0u; i4 < p.I4; i4++) {
        let w0 = load4(w[at]);
        let w1 = load4(w[at + 1u]);
        let w2 = load4(w[at + 2u]);
        let w3 = load4(w[at + 3u]);
        at += p.O4 * 4u;
        let norm = normOf(b, i4);
        for (var j = 0u; j < PIXELS; j++) {
          let v = select(vec4<f32>(0.0), normalised(load4(input[base[j] + i4]), norm), inside[j]);
          acc[j] = fma(vec4<f32>(v.x), w0, acc[j]);
          acc[j] = fma(vec4<f32>(v.y), w1, acc[j]);
          acc[j] = fma(vec4<f32>(v.z), w2, acc[j]);
          acc[j] = fma(vec4<f32>(v.w), w3, acc[j]);
        }
      }
    }
  }
  var add = vec4<f32>(0.0);
  if (HAS_BIAS) { add = bias[o4]; }
  if (HAS_SHIFT) { add += load4(shift[b * p.shift4 + p.shiftAt + o4]); }
  let lanes = 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u);
  for (var j = 0u; j < PIXELS; j++) {
    if (ox + j >= p.OW) { return; }
    let at = (line * p.OW + ox + j) * p.O4 + o4;
    var v = activate(acc[j] + add, ACT);
    // The only activation that makes padding lanes non-zero.
    if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, lanes < vec4<u32>(p.O)); }
    if (HAS_RESIDUAL) { v += load4(residual[at]); }
    out[at] = store4(v * p.scale);
  }
}
