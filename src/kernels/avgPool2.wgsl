// out[b, y, x, :] = mean of in[b, 2y…2y+1, 2x…2x+1, :]; an odd last row or column is left out, as PyTorch's AvgPool2d
// does.
//
// input [B, H, W, C4], out [B, ⌊H/2⌋, ⌊W/2⌋, C4]. An invocation computes one vec4, in f32.
//@use storage
const WG = 64u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of input
  W: u32,        // columns of input
  C4: u32,       // vec4 per pixel
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, H / 2, W / 2, C4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let width = p.W / 2u;
  let height = p.H / 2u;
  if (i >= p.B * height * width * p.C4) { return; }
  let pixel = i / p.C4;
  let x = 2u * (pixel % width);
  let y = 2u * (pixel / width % height);
  let b = pixel / (width * height);
  let at = ((b * p.H + y) * p.W + x) * p.C4 + i % p.C4;
  let below = at + p.W * p.C4;
  out[i] = store4(0.25 * ((load4(input[at]) + load4(input[at + p.C4])) +
                          (load4(input[below]) + load4(input[below + p.C4]))));
}
