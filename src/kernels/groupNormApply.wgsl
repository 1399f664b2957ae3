// out[b, i, c] = act((in[b, i, c] − mean[b, c]) · scale[b, c] + beta[c]) · factor
//
// input [B, P, A4] and second [B, P, C4 − A4], the channels of the one in front of those of the other; out [B, P, C4]; affine [B, 2, C4] as groupNormFinalise leaves it. An invocation handles one vec4 of channels of
// ROWS consecutive pixels of one batch item. Padding lanes have mean, scale and beta 0.
//@use storage activation
const WG = 64u;
const ROWS = 4u;
const ACT = 0u;
const HAS_BETA = true;
const HAS_SECOND = false;

struct Params {
  B: u32,    // batch
  P: u32,    // pixels per batch item
  C4: u32,   // vec4 per pixel
  A4: u32,   // vec4 of them that lie in input
  C: u32,    // channels
  factor: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, P, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;              // [B, P, C4 − A4]
@group(0) @binding(2) var<storage, read> affine: array<vec4<f32>>;          // [B, 2, C4]
@group(0) @binding(3) var<storage, read> beta: array<vec4<f32>>;            // [C4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;           // [B, P, C4]
@group(0) @binding(5) var<uniform> p: Params;

fn valueAt(row: u32, c4: u32) -> vec4<f32> {
  if (HAS_SECOND && c4 >= p.A4) { return load4(second[row * (p.C4 - p.A4) + c4 - p.A4]); }
  return load4(input[row * p.A4 + c4]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let blocks = (p.P + ROWS - 1u) / ROWS;
  if (i >= p.B * blocks * p.C4) { return; }
  let c4 = i % p.C4;
  let b = i / (p.C4 * blocks);
  let row = (i / p.C4) % blocks * ROWS;
  let mean = affine[b * 2u * p.C4 + c4];
  let scale = affine[b * 2u * p.C4 + p.C4 + c4];
  var shift = vec4<f32>(0.0);
  if (HAS_BETA) { shift = beta[c4]; }
  let lanes = 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u);
  for (var j = 0u; j < ROWS; j++) {
    if (row + j >= p.P) { return; }
    let at = (b * p.P + row + j) * p.C4 + c4;
    var v = activate(fma(valueAt(b * p.P + row + j, c4) - mean, scale, shift), ACT);
    if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, lanes < vec4<u32>(p.C)); }
    out[at] = store4(v * p.factor);
  }
}
