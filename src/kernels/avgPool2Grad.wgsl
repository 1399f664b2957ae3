// out[b, y, x, :] = g[b, y/2, x/2, :] / 4, zero in an odd last row or column, which avgPool2 leaves out.
//
// g [B, ⌊H/2⌋, ⌊W/2⌋, C4], out [B, H, W, C4]. An invocation computes one vec4.
//@use storage
const WG = 64u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of out
  W: u32,        // columns of out
  C4: u32,       // vec4 per pixel
}

@group(0) @binding(0) var<storage, read> g: array<Elem4>;               // [B, H / 2, W / 2, C4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, H, W, C4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.H * p.W * p.C4) { return; }
  let pixel = i / p.C4;
  let width = p.W / 2u;
  let height = p.H / 2u;
  let x = pixel % p.W / 2u;
  let y = pixel / p.W % p.H / 2u;
  let b = pixel / (p.W * p.H);
  let inside = x < width && y < height;
  let at = ((b * height + min(y, height - 1u)) * width + min(x, width - 1u)) * p.C4 + i % p.C4;
  out[i] = store4(select(vec4<f32>(0.0), 0.25 * load4(g[at]), inside));
}
