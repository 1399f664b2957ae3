// out = d · (d·x)/(d·d) in every box of every item: the part of x along one direction, such as the mean of a patch or
// the brightness of a pixel.
//
// x [batch, channels, height, width] f32, items strided; d has one number per channel of the box and is the same for
// all of its pixels. An invocation owns a box: it sums over it, then writes it; neighbours own neighbouring columns of
// boxes.
const WG = 64u;

struct Params {
  batch: u32,
  channels: u32,
  height: u32,
  width: u32,
  boxC: u32,      // channels of a box, at most 4; divides channels
  boxH: u32,      // divides height
  boxW: u32,      // divides width
  offset: u32,    // elements
  stride: u32,    // elements
  d0: f32,        // direction, by channel of the box; 0 beyond boxC
  d1: f32,
  d2: f32,
  d3: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;          // [batch, channels, height, width], strided
@group(0) @binding(1) var<storage, read_write> out: array<f32>;  // [batch, channels, height, width]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let columns = p.width / p.boxW;
  let rows = p.height / p.boxH;
  let planes = p.channels / p.boxC;
  if (i >= p.batch * planes * rows * columns) { return; }
  let b = i / (planes * rows * columns);
  let plane = (i / (rows * columns)) % planes * p.boxC;
  let corner = ((plane * p.height) + (i / columns) % rows * p.boxH) * p.width + i % columns * p.boxW;
  let source = p.offset + b * p.stride + corner;
  let result = b * p.channels * p.height * p.width + corner;
  let d = vec4<f32>(p.d0, p.d1, p.d2, p.d3);
  var along = 0.0;
  for (var c = 0u; c < p.boxC; c++) {
    for (var row = 0u; row < p.boxH; row++) {
      let at = source + (c * p.height + row) * p.width;
      for (var column = 0u; column < p.boxW; column++) { along = fma(d[c], x[at + column], along); }
    }
  }
  along /= dot(d, d) * f32(p.boxH * p.boxW);
  for (var c = 0u; c < p.boxC; c++) {
    for (var row = 0u; row < p.boxH; row++) {
      let at = result + (c * p.height + row) * p.width;
      for (var column = 0u; column < p.boxW; column++) { out[at + column] = d[c] * along; }
    }
  }
}
