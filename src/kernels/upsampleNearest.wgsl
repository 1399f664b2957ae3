// out[b, y, x, :] = in[b, ⌊y·H/height⌋, ⌊x·W/width⌋, :], nearest neighbour to any size, as PyTorch's `nearest`.
//
// input [B, H, W, C4], out [B, height, width, C4]. An invocation copies one vec4.
//@use storage
const WG = 64u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of input
  W: u32,        // columns of input
  height: u32,   // rows of out
  width: u32,    // columns of out
  C4: u32,       // vec4 per pixel
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
  let x = (pixel % p.width) * p.W / p.width;
  let y = (pixel / p.width % p.height) * p.H / p.height;
  let b = pixel / (p.width * p.height);
  out[i] = input[((b * p.H + y) * p.W + x) * p.C4 + c4];
}
