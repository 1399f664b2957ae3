// out[b, y, x, :] = in[b, mirror(y − pad), mirror(x − pad), :], a border of mirrored pixels, as PyTorch's `reflect`:
// the edge itself is not repeated.
//
// input [B, H, W, C4], out [B, H + 2·pad, W + 2·pad, C4], pad < H and pad < W. An invocation copies one vec4.
//@use storage
const WG = 64u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of input
  W: u32,        // columns of input
  C4: u32,       // vec4 per pixel
  pad: u32,      // pixels on every side
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, H, W, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, H + 2·pad, W + 2·pad, C4]
@group(0) @binding(2) var<uniform> p: Params;

// The pixel of a row of n that position i of the padded row shows.
fn mirror(i: u32, n: u32) -> u32 {
  let before = i32(i) - i32(p.pad);
  let inside = abs(before);
  let last = i32(n) - 1;
  return u32(last - abs(last - inside));
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let width = p.W + 2u * p.pad;
  let height = p.H + 2u * p.pad;
  if (i >= p.B * height * width * p.C4) { return; }
  let c4 = i % p.C4;
  let pixel = i / p.C4;
  let x = mirror(pixel % width, p.W);
  let y = mirror(pixel / width % height, p.H);
  let b = pixel / (width * height);
  out[i] = input[((b * p.H + y) * p.W + x) * p.C4 + c4];
}
