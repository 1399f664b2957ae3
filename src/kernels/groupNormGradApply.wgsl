// out[b, i, c] = rstd · (g·gamma − M1 − x̂·M2), x̂ = (input − mean) · rstd: the gradient of a group normalisation by
// its input.
//
// g, input, out [B, P, C4]; affine [B, 2, C4] as groupNormFinalise leaves it without gamma; means [B, 2, C4] as
// groupNormGradMeans does. An invocation handles one vec4. Padding lanes have everything 0.
// Wu & He 2018, https://arxiv.org/abs/1803.08494, equations 1 to 3, differentiated.
//@use storage
const WG = 64u;
const HAS_GAMMA = true;

struct Params {
  B: u32,    // batch
  P: u32,    // pixels per batch item
  C4: u32,   // vec4 per pixel
}

@group(0) @binding(0) var<storage, read> g: array<Elem4>;                   // [B, P, C4]
@group(0) @binding(1) var<storage, read> input: array<Elem4>;               // [B, P, C4]
@group(0) @binding(2) var<storage, read> affine: array<vec4<f32>>;          // [B, 2, C4]: mean, then rstd
@group(0) @binding(3) var<storage, read> means: array<vec4<f32>>;           // [B, 2, C4]: M1, then M2
@group(0) @binding(4) var<storage, read> gamma: array<vec4<f32>>;           // [C4]
@group(0) @binding(5) var<storage, read_write> out: array<Elem4>;           // [B, P, C4]
@group(0) @binding(6) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.P * p.C4) { return; }
  let c4 = i % p.C4;
  let item = i / (p.P * p.C4) * 2u * p.C4 + c4;
  let rstd = affine[item + p.C4];
  var weight = vec4<f32>(1.0);
  if (HAS_GAMMA) { weight = gamma[c4]; }
  let normal = (load4(input[i]) - affine[item]) * rstd;
  out[i] = store4(rstd * (weight * load4(g[i]) - means[item] - normal * means[item + p.C4]));
}
