// out = mean + exp(logScale · factor) · noise, elementwise over rows of vec4: a draw from a Gaussian.
//
// mean, logScale, noise, out [M, C4]. An invocation handles one vec4. Padding of noise is zero, so that of out is.
//@use storage exponential
const WG = 64u;

struct Params {
  count: u32,      // vec4 of out
  factor: f32,     // 1 for log σ, 1/2 for log σ²
}

@group(0) @binding(0) var<storage, read> mean: array<Elem4>;                // [M, C4]
@group(0) @binding(1) var<storage, read> logScale: array<Elem4>;            // [M, C4]
@group(0) @binding(2) var<storage, read> noise: array<Elem4>;               // [M, C4]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;           // [M, C4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.count) { return; }
  out[i] = store4(load4(mean[i]) + exponential(p.factor * load4(logScale[i])) * load4(noise[i]));
}
