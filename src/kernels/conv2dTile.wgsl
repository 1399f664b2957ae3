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
// Implicit matrix multiplication through workgroup memory: rows are pixels (in reading order, over rows and batch items
// alike), four k are four channels under one tap. A workgroup of WG_N × WG_M invocations computes WG_M·ROWS
// pixels × WG_N·COLS vec4 of channels, each invocation ROWS × COLS of them in registers. Accumulation in f32.
//@use storage activation convOut tile normIn
const WG_N = 16u;
const WG_M = 16u;
const ROWS = 8u;
const COLS = 2u;
const K4S = 4u;
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

fn rowPart(m: u32, k4: u32) -> vec4<f32> {
  if (k4 >= p.R * p.S * p.I4) { return vec4<f32>(0.0); }
  let area = p.OH * p.OW;
  let pixel = min(m, p.B * area - 1u);
  let tap = k4 / p.I4;
  // A coordinate below zero wraps to a huge one, so that a single comparison tells both edges.
  let y = pixel % area / p.OW * p.stride + tap / p.S * p.dilation - p.top;
  let x = pixel % p.OW * p.stride + tap % p.S * p.dilation - p.left;
  if (y >= p.H * UP || x >= p.W * UP) { return vec4<f32>(0.0); }
  let map = pixel / area;
  let c4 = k4 % p.I4;
  return normalised(load4(input[((map * p.H + y / UP) * p.W + x / UP) * p.I4 + c4]), normOf(map, c4));
}

fn staged(v: vec4<f32>, k4: u32, i: u32) -> vec4<f32> { return v; }

fn weightRow(k4: u32, k: u32, n4: u32) -> vec4<f32> {
  return load4(w[(min(k4, p.R * p.S * p.I4 - 1u) * p.O4 + min(n4, p.O4 - 1u)) * 4u + k]);
}

@compute @workgroup_size(WG_N, WG_M)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let m0 = (group.y + group.z * groups.y) * WG_M * ROWS;
  let n0 = group.x * WG_N * COLS;
  let sums = tileProduct(m0, n0, p.R * p.S * p.I4, local.x, local.y);
  for (var c = 0u; c < COLS; c++) {
    let o4 = n0 + c * WG_N + local.x;
    if (o4 >= p.O4) { continue; }
    for (var r = 0u; r < ROWS; r++) {
      let m = m0 + local.y * ROWS + r;
      if (m < p.B * p.OH * p.OW) { finish(m, o4, sums[r * COLS + c]); }
    }
  }
}
