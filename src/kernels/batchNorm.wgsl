// out = act((in − mean) / √(var + eps) · gamma + beta), per channel, with statistics that training left behind.
//
// input, out [M, C4]; mean, variance, gamma, beta [C4] f32. An invocation handles one vec4. gamma and beta are zero
// behind C, so that padding stays zero under every activation but the sigmoid, which is refused.
//@use storage activation
const WG = 64u;
const ACT = 0u;

struct Params {
  count: u32,    // vec4 of input
  C4: u32,       // vec4 per row
  eps: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [M, C4]
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;           // [C4]
@group(0) @binding(2) var<storage, read> beta: array<vec4<f32>>;            // [C4]
@group(0) @binding(3) var<storage, read> mean: array<vec4<f32>>;            // [C4]
@group(0) @binding(4) var<storage, read> variance: array<vec4<f32>>;        // [C4]
@group(0) @binding(5) var<storage, read_write> out: array<Elem4>;           // [M, C4]
@group(0) @binding(6) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.count) { return; }
  let c = i % p.C4;
  let scale = gamma[c] / sqrt(variance[c] + p.eps);
  out[i] = store4(activate((load4(input[i]) - mean[c]) * scale + beta[c], ACT));
}
