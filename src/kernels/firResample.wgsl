// out = every DOWN-th pixel of (x with UP − 1 zeros after every pixel, padded by `pad` in front) ∗ (k ⊗ k) · gain.
//
// upfirdn2d of StyleGAN2 (Karras et al. 2020) for a separable filter k of TAPS taps. input [B, H, W, C4], out
// [B, height, width, C4]. An invocation computes one vec4, in f32, and visits only taps that meet a pixel and no zero.
//@use storage
const WG = 64u;
const UP = 1u;
const DOWN = 2u;
const TAPS = 4u;

struct Params {
  B: u32,            // batch
  H: u32,            // rows of input
  W: u32,            // columns of input
  height: u32,       // rows of out
  width: u32,        // columns of out
  C4: u32,           // vec4 per pixel
  pad: i32,          // zeros in front of rows and columns; negative crops
  gain: f32,
  taps0: vec4<f32>,  // k reversed, taps 0 … 3
  taps1: vec4<f32>,
  taps2: vec4<f32>,
  taps3: vec4<f32>,  // taps 12 … 15
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, height, width, C4]
@group(0) @binding(2) var<uniform> p: Params;

// The first tap that meets a pixel when the filter starts at `start` of the stretched, unpadded row: start + tap ≡ 0
// (UP).
fn firstTap(start: i32) -> i32 {
  let phase = start % i32(UP);
  return select((i32(UP) - phase) % i32(UP), -phase, phase < 0);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.height * p.width * p.C4) { return; }
  var taps = array<vec4<f32>, 4>(p.taps0, p.taps1, p.taps2, p.taps3);
  let pixel = i / p.C4;
  let x0 = i32((pixel % p.width) * DOWN) - p.pad;
  let y0 = i32((pixel / p.width % p.height) * DOWN) - p.pad;
  let b = pixel / (p.width * p.height);
  let firstX = firstTap(x0);
  var sum = vec4<f32>(0.0);
  for (var ty = firstTap(y0); ty < i32(TAPS); ty += i32(UP)) {
    let y = (y0 + ty) / i32(UP);
    if (y0 + ty < 0 || y >= i32(p.H)) { continue; }
    var row = vec4<f32>(0.0);
    for (var tx = firstX; tx < i32(TAPS); tx += i32(UP)) {
      let x = (x0 + tx) / i32(UP);
      if (x0 + tx < 0 || x >= i32(p.W)) { continue; }
      row += taps[tx / 4][tx % 4] * load4(input[((b * p.H + u32(y)) * p.W + u32(x)) * p.C4 + i % p.C4]);
    }
    sum += taps[ty / 4][ty % 4] * row;
  }
  out[i] = store4(p.gain * sum);
}
