// Draws a dense f32 picture [3, H, W], values in −1 … 1, onto a canvas: one triangle over the whole target, each
// fragment reads its own pixel. Not a compute kernel: the only render pipeline here, so that pictures reach the page
// without a read-back.
struct Params {
  width: u32,
  height: u32,
  first: u32,     // element at which the picture starts
}

@group(0) @binding(0) var<storage, read> picture: array<f32>;           // […, 3, H, W]
@group(0) @binding(1) var<uniform> p: Params;

@vertex
fn vertex(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
  let corner = vec2<f32>(f32(i & 1u), f32(i >> 1u));
  return vec4<f32>(corner * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn fragment(@builtin(position) at: vec4<f32>) -> @location(0) vec4<f32> {
  let plane = p.width * p.height;
  let i = p.first + min(u32(at.y), p.height - 1u) * p.width + min(u32(at.x), p.width - 1u);
  let rgb = vec3<f32>(picture[i], picture[i + plane], picture[i + 2u * plane]);
  return vec4<f32>(clamp(rgb * 0.5 + 0.5, vec3<f32>(0.0), vec3<f32>(1.0)), 1.0);
}
