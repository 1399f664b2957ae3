// out[b, y, x, :] = in at (y·scale + offset, x·scale + offset), interpolated linearly both ways, as PyTorch's
// `bilinear`: coordinates below 0 count as 0, beyond the last pixel the last one stands.
//
// input [B, H, W, C4], out [B, height, width, C4]. An invocation computes one vec4, in f32.
//@use storage
const WG = 64u;

struct Params {
  B: u32,          // batch
  H: u32,          // rows of input
  W: u32,          // columns of input
  height: u32,     // rows of out
  width: u32,      // columns of out
  C4: u32,         // vec4 per pixel
  scaleY: f32,     // input rows per row of out
  offsetY: f32,
  scaleX: f32,     // input columns per column of out
  offsetX: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, height, width, C4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.height * p.width * p.C4) { return; }
  let c4 = i % p.C4;
  let pixel = i / p.C4;
  let b = pixel / (p.width * p.height);
  let fy = max(f32(pixel / p.width % p.height) * p.scaleY + p.offsetY, 0.0);
  let fx = max(f32(pixel % p.width) * p.scaleX + p.offsetX, 0.0);
  let y0 = min(u32(fy), p.H - 1u);
  let x0 = min(u32(fx), p.W - 1u);
  let y1 = min(y0 + 1u, p.H - 1u);
  let x1 = min(x0 + 1u, p.W - 1u);
  let ty = clamp(fy - f32(y0), 0.0, 1.0);
  let tx = clamp(fx - f32(x0), 0.0, 1.0);
  let above = (b * p.H + y0) * p.W;
  let below = (b * p.H + y1) * p.W;
  let first = (1.0 - tx) * load4(input[(above + x0) * p.C4 + c4]) + tx * load4(input[(above + x1) * p.C4 + c4]);
  let second = (1.0 - tx) * load4(input[(below + x0) * p.C4 + c4]) + tx * load4(input[(below + x1) * p.C4 + c4]);
  out[i] = store4((1.0 - ty) * first + ty * second);
}
