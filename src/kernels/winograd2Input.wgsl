// v[4i + j, t, c] = (Bᵀ d B)[i, j], d the 4×4 pixels under output tile t (2×2 pixels) of channel c: the input of F(2×2,
// 3×3).
//
// input [B, H, W, A4], v [16, tiles, I4] f32, of whose channels input's are A4 vec4 from p.at on: two tensors that are
// convolved as one are dispatched one by one. Tiles are counted over batch, rows and columns. An invocation transforms
// one tile of one vec4 of channels in registers; a workgroup takes WG of them in order. Pixels outside the map are
// zero.
// NORM: d is of act((in − mean) · scale + beta) instead, affine [B, 2, I4] as groupNormFinalise leaves it; outside the
// map it is zero then, too.
// doubled = 1: d is taken from the input with every pixel doubled both ways (nearest neighbour); H and W are those of
// the input.
// Sums in f32, and stored so, since the transform grows values up to fourfold. Lavin & Gray 2015, section 4.1.
// FIXED: the lengths of loops are known, for compilers of GPUs: they unroll them and have all in registers. Those of
// processors, which would take long for that, must not know them.
//@use storage activation normIn
const WG = 64u;
const FIXED = false;
const NORM = false;
const NORM_ACT = 0u;

struct Params {
  B: u32,        // batch
  H: u32,        // rows of the input
  W: u32,        // columns of the input
  A4: u32,       // vec4 per input pixel
  I4: u32,       // vec4 per pixel of all that are convolved
  at: u32,       // vec4 in front of input's
  I: u32,        // channels of all
  TH: u32,       // tiles from top to bottom
  TW: u32,       // tiles from left to right
  top: u32,      // rows of padding above
  left: u32,     // columns of padding on the left
  tiles: u32,    // of this dispatch
  first: u32,    // tiles in front of them
  edge: u32,     // 4: pixels along the edge of what a tile reads
  doubled: u32,  // 1: every pixel of the input counts as two by two
  acts: u32,     // 1: act is applied
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;                   // [B, H, W, A4]
@group(0) @binding(1) var<storage, read> affine: array<vec4<f32>>;              // [B, 2, I4]
@group(0) @binding(2) var<storage, read> beta: array<vec4<f32>>;                // [I4]
@group(0) @binding(3) var<storage, read_write> v: array<vec4<f32>>;             // [16, tiles, I4]
@group(0) @binding(4) var<uniform> p: Params;

// Row y of a map, from its x-th pixel on, times B. Coordinates below zero wrap to huge ones, so that one comparison
// tells both edges. One load in a loop of unknown length, behind which values move up: four in a row would take long to
// compile on some drivers.
fn row(map: u32, y: u32, x: u32, c: u32, norm: Norm) -> mat4x4<f32> {
  let line = (map * p.H + min(y >> p.doubled, p.H - 1u)) * p.W;
  let inside = y < p.H << p.doubled;
  var d: mat4x4<f32>;
  var j = 0u;
  loop {
    let v = normalised(load4(input[(line + min((x + j) >> p.doubled, p.W - 1u)) * p.A4 + c]), norm);
    d = mat4x4<f32>(d[1], d[2], d[3], select(vec4<f32>(0.0), v, inside && x + j < p.W << p.doubled));
    continuing { j++; break if j >= select(p.edge, 4u, FIXED); }
  }
  return mat4x4<f32>(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = (group.x + group.y * groups.x) * WG + lane;
  if (index >= p.tiles * p.A4) { return; }
  let c = index % p.A4;
  let tile = p.first + index / p.A4;
  let map = tile / (p.TH * p.TW);
  let y = (tile / p.TW % p.TH) * 2u - p.top;
  let x = (tile % p.TW) * 2u - p.left;
  let c4 = p.at + c;
  let norm = normOf(map, c4);
  var v0: mat4x4<f32>;
  var v1: mat4x4<f32>;
  var v2: mat4x4<f32>;
  var v3: mat4x4<f32>;
  // Loops of unknown length stay loops: four copies of a row's loads would take long to compile on some drivers.
  var i = 0u;
  loop {
    let r = row(map, y + i, x, c, norm);
    // Row i of B.
    var b = vec4<f32>(1.0, 0.0, 0.0, 0.0);
    if (i == 1u) { b = vec4<f32>(0.0, 1.0, -1.0, 1.0); }
    if (i == 2u) { b = vec4<f32>(-1.0, 1.0, 1.0, 0.0); }
    if (i == 3u) { b = vec4<f32>(0.0, 0.0, 0.0, -1.0); }
    v0 += b.x * r;
    v1 += b.y * r;
    v2 += b.z * r;
    v3 += b.w * r;
    continuing { i++; break if i >= select(p.edge, 4u, FIXED); }
  }
  var all = array<vec4<f32>, 16>(
    v0[0], v0[1], v0[2], v0[3], v1[0], v1[1], v1[2], v1[3], v2[0], v2[1], v2[2], v2[3], v3[0], v3[1], v3[2], v3[3]);
  let size = p.tiles * p.I4;
  let to = index / p.A4 * p.I4 + c4;
  i = 0u;
  loop { v[i * size + to] = all[i]; continuing { i++; break if i >= select(p.edge * p.edge, 16u, FIXED); } }
}
