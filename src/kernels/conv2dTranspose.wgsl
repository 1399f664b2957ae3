// out[b, y, x, o] = act(Σ_{r,s,i} in[b, (y + top − r·dilation)/stride, (x + left − s·dilation)/stride, i]·w[i, o, r, s]
//                   + bias[o]) · scale; terms whose quotient is no integer, or outside the map, are left out.
//
// input [B, H, W, I], w [I, O, R, S] packed by `packConvTranspose` into 4×4 blocks, out [B, OH, OW, O]; channels are
// padded to vec4. An invocation computes PIXELS pixels of one output row, `stride` apart so that the same taps reach
// them, × one vec4 of output channels in registers; a workgroup covers WG_O vec4 of channels × WG_P such runs.
// Accumulation in f32. Dumoulin & Visin 2016, https://arxiv.org/abs/1603.07285, chapter 4.
//@use storage activation
const PIXELS = 4u;
const WG_O = 8u;
const WG_P = 8u;
const ACT = 0u;
const HAS_BIAS = true;

struct Params {
  B: u32,          // batch
  H: u32,          // rows of the input
  W: u32,          // columns of the input
  I4: u32,         // vec4 per input pixel
  OH: u32,         // rows of the output
  OW: u32,         // columns of the output
  O4: u32,         // vec4 per output pixel
  O: u32,          // output channels
  R: u32,          // rows of the kernel
  S: u32,          // columns of the kernel
  stride: u32,     // output pixels from one input pixel to the next, both ways
  dilation: u32,   // output pixels from one tap to the next, both ways
  top: u32,        // rows cropped above
  left: u32,       // columns cropped on the left
  scale: f32,      // applied last
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [R, S, I4, O4, 4]: blocks of four i of four o
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;        // [O4]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [B, OH, OW, O4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG_O, WG_P)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let o4 = group.x * WG_O + local.x;
  // Runs of one row: for each of `stride` phases as many as the longest phase needs.
  let perPhase = ((p.OW + p.stride - 1u) / p.stride + PIXELS - 1u) / PIXELS;
  let runs = p.stride * perPhase;
  let run = (group.y + group.z * groups.y) * WG_P + local.y;
  if (o4 >= p.O4 || run >= p.B * p.OH * runs) { return; }
  let phase = (run % runs) / perPhase;
  let ox = phase + (run % perPhase) * PIXELS * p.stride;
  if (ox >= p.OW) { return; }
  let line = run / runs;
  let oy = line % p.OH;
  let b = line / p.OH;
  var acc: array<vec4<f32>, PIXELS>;
  var base: array<u32, PIXELS>;
  var inside: array<bool, PIXELS>;
  for (var j = 0u; j < PIXELS; j++) { acc[j] = vec4<f32>(0.0); }
  for (var r = 0u; r < p.R; r++) {
    let y = i32(oy + p.top) - i32(r * p.dilation);
    let iy = y / i32(p.stride);
    if (y < 0 || y % i32(p.stride) != 0 || u32(iy) >= p.H) { continue; }
    for (var s = 0u; s < p.S; s++) {
      // Below zero for the first pixels of a run is possible: congruence is tested on a number moved up by whole
      // strides.
      let x = i32(ox + p.left) - i32(s * p.dilation);
      if ((x + i32(p.S * p.dilation * p.stride)) % i32(p.stride) != 0) { continue; }
      for (var j = 0u; j < PIXELS; j++) {
        let at = x + i32(j * p.stride);
        let ix = at / i32(p.stride);
        inside[j] = at >= 0 && u32(ix) < p.W;
        base[j] = ((b * p.H + u32(iy)) * p.W + min(u32(max(ix, 0)), p.W - 1u)) * p.I4;
      }
      var at = ((r * p.S + s) * p.I4 * p.O4 + o4) * 4u;
      for (var i4 = 0u; i4 < p.I4; i4++) {
        let w0 = load4(w[at]);
        let w1 = load4(w[at + 1u]);
        let w2 = load4(w[at + 2u]);
        let w3 = load4(w[at + 3u]);
        at += p.O4 * 4u;
        for (var j = 0u; j < PIXELS; j++) {
          let v = select(vec4<f32>(0.0), load4(input[base[j] + i4]), inside[j]);
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
  let lanes = 4u * o4 + vec4<u32>(0u, 1u, 2u, 3u);
  for (var j = 0u; j < PIXELS; j++) {
    let x = ox + j * p.stride;
    if (x >= p.OW) { return; }
    var v = activate(acc[j] + add, ACT);
    // The only activation that makes padding lanes non-zero.
    if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, lanes < vec4<u32>(p.O)); }
    out[(line * p.OW + x) * p.O4 + o4] = store4(v * p.scale);
  }
}
