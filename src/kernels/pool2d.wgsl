// out[b, y, x, c] = the largest (or the mean) of the SIDE × SIDE window of input whose first pixel is (y,
// x)·stride − pad.
//
// input [B, H, W, C4], out [B, height, width, C4]. What lies outside does not count for the largest, and as zero for
// the mean. An invocation computes one vec4 of channels, in f32.
//@use storage
const WG = 64u;
const SIDE = 5u;
const MEAN = false;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of input
  W: u32,        // columns of input
  height: u32,   // rows of out
  width: u32,    // columns of out
  C4: u32,       // vec4 per pixel
  stride: u32,   // pixels, both ways
  pad: u32,      // pixels in front of rows and columns, less than SIDE
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, height, width, C4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.height * p.width * p.C4) { return; }
  let pixel = i / p.C4;
  let b = pixel / (p.width * p.height);
  let y0 = (pixel / p.width % p.height) * p.stride;
  let x0 = (pixel % p.width) * p.stride;
  let lastY = min(y0 + SIDE - p.pad, p.H);
  let lastX = min(x0 + SIDE - p.pad, p.W);
  var sum = vec4<f32>(0.0);
  var most = vec4<f32>(-3.4028234e38);
  for (var y = max(y0, p.pad) - p.pad; y < lastY; y++) {
    for (var x = max(x0, p.pad) - p.pad; x < lastX; x++) {
      let v = load4(input[((b * p.H + y) * p.W + x) * p.C4 + i % p.C4]);
      if (MEAN) { sum += v; } else { most = max(most, v); }
    }
  }
  out[i] = store4(select(most, sum / f32(SIDE * SIDE), MEAN));
}
