// S1[b, k, c] = Σ g·gamma and S2[b, k, c] = Σ g·gamma·x̂ over chunk k of a batch item's pixels, x̂ = (input − mean) ·
// rstd.
//
// g, input [B, P, C], chunks of p.rows consecutive pixels (the last may be shorter), affine [B, 2, C] as
// groupNormFinalise leaves it without gamma, sums [B, K, 2, C]. An invocation takes one vec4 of channels of one chunk.
// f32.
//@use storage
const WG = 64u;
const HAS_GAMMA = true;

struct Params {
  B: u32,      // batch
  P: u32,      // pixels per batch item
  C4: u32,     // vec4 per pixel
  K: u32,      // chunks per batch item
  rows: u32,   // pixels per chunk
}

@group(0) @binding(0) var<storage, read> g: array<Elem4>;                   // [B, P, C4]
@group(0) @binding(1) var<storage, read> input: array<Elem4>;               // [B, P, C4]
@group(0) @binding(2) var<storage, read> affine: array<vec4<f32>>;          // [B, 2, C4]: mean, then rstd
@group(0) @binding(3) var<storage, read> gamma: array<vec4<f32>>;           // [C4]
@group(0) @binding(4) var<storage, read_write> sums: array<vec4<f32>>;      // [B, K, 2, C4]
@group(0) @binding(5) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.K * p.C4) { return; }
  let c4 = i % p.C4;
  let chunk = i / p.C4;
  let b = chunk / p.K;
  let first = (chunk % p.K) * p.rows;
  let end = min(first + p.rows, p.P);
  let mean = affine[b * 2u * p.C4 + c4];
  let rstd = affine[b * 2u * p.C4 + p.C4 + c4];
  var weight = vec4<f32>(1.0);
  if (HAS_GAMMA) { weight = gamma[c4]; }
  var s1 = vec4<f32>(0.0);
  var s2 = vec4<f32>(0.0);
  for (var row = first; row < end; row++) {
    let at = (b * p.P + row) * p.C4 + c4;
    let d = load4(g[at]);
    s1 += d;
    s2 = fma(d, (load4(input[at]) - mean) * rstd, s2);
  }
  let at = chunk * 2u * p.C4 + c4;
  sums[at] = weight * s1;
  sums[at + p.C4] = weight * s2;
}
