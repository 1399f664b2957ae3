// out[b, i, c] = act((in[b, i, c] − mean[b, c]) · scale[b, c] + shift[b, c])
//
// input, out [B, P, C4]; affine [B, 3, C4] as instanceNormFinalise leaves it. An invocation handles one vec4 of
// channels of ROWS consecutive pixels of one batch item. Padding lanes have scale and shift 0.
//@use storage activation
const WG = 64u;
const ROWS = 4u;
const ACT = 0u;

struct Params {
  B: u32,    // batch
  P: u32,    // pixels per batch item
  C4: u32,   // vec4 per pixel
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, P, C4]
@group(0) @binding(1) var<storage, read> affine: array<vec4<f32>>;          // [B, 3, C4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;           // [B, P, C4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let blocks = (p.P + ROWS - 1u) / ROWS;
  if (i >= p.B * blocks * p.C4) { return; }
  let c4 = i % p.C4;
  let b = i / (p.C4 * blocks);
  let row = (i / p.C4) % blocks * ROWS;
  let at3 = b * 3u * p.C4 + c4;
  let mean = affine[at3];
  let scale = affine[at3 + p.C4];
  let shift = affine[at3 + 2u * p.C4];
  for (var j = 0u; j < ROWS; j++) {
    if (row + j >= p.P) { return; }
    let at = (b * p.P + row + j) * p.C4 + c4;
    out[at] = store4(activate(fma(load4(input[at]) - mean, scale, shift), ACT));
  }
}
