// out[b, i, c] = act((in[b, i, c] − mean[b, c]) · scale[b, c] + beta[c]) · factor
//
// input [B, P, A4], whose channels are A4 vec4 of those of out [B, P, C4] from p.at on: tensors whose channels stand
// behind each other are dispatched one by one. affine [B, 2, C4] as groupNormFinalise leaves it. An invocation handles
// one vec4 of channels of ROWS consecutive pixels of one batch item. Padding lanes have mean, scale and beta 0.
// One shader serves norms with their activation and without; without beta, zeros are bound.
//@use storage activation
const WG = 64u;
const ROWS = 4u;
const ACT = 0u;

struct Params {
  B: u32,       // batch
  P: u32,       // pixels per batch item
  C4: u32,      // vec4 per pixel of out
  A4: u32,      // vec4 per pixel of input
  at: u32,      // vec4 in front of them
  C: u32,       // channels of out
  acts: u32,    // 1: act is applied
  factor: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, P, A4]
@group(0) @binding(1) var<storage, read> affine: array<vec4<f32>>;          // [B, 2, C4]
@group(0) @binding(2) var<storage, read> beta: array<vec4<f32>>;            // [C4]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;           // [B, P, C4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  let blocks = (p.P + ROWS - 1u) / ROWS;
  // Every index is checked against the length of its array. Lengths are asked for here, once; otherwise some drivers
  // divide to find one at each access.
  let shortest = min(arrayLength(&input), arrayLength(&out));
  if (i >= p.B * blocks * p.A4 || shortest == 0u) { return; }
  let c4 = p.at + i % p.A4;
  let b = i / (p.A4 * blocks);
  let first = (i / p.A4) % blocks * ROWS;
  let mean = affine[b * 2u * p.C4 + c4];
  let scale = affine[b * 2u * p.C4 + p.C4 + c4];
  let shift = beta[c4];
  let lanes = 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u);
  // A loop of unknown length stays a loop: a load takes long to compile on some drivers, once per copy.
  var row = b * p.P + first;
  let end = b * p.P + min(first + ROWS, p.P);
  loop {
    let normal = fma(load4(input[row * p.A4 + c4 - p.at]) - mean, scale, shift);
    var v = select(normal, activate(normal, ACT), p.acts == 1u);
    if (ACT == ACT_SIGMOID) { v = select(vec4<f32>(0.0), v, lanes < vec4<u32>(p.C)); }
    out[row * p.C4 + c4] = store4(v * p.factor);
    continuing { row++; break if row >= end; }
  }
}
