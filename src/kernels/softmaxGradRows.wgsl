// grads[row, s] ← scale · weights[row, s] · (grads[row, s] − Σ weights[row, :]·grads[row, :]): from the gradient by
// softmax weights to the gradient by what was multiplied with scale before the softmax, in place.
//
// weights, grads [rows, S4] f32; weights are 0 beyond the last key, and grads become it. An invocation takes one row,
// in two passes.
const WG = 64u;

struct Params {
  rows: u32,
  S4: u32,       // vec4 per row
  scale: f32,
}

@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;             // [rows, S4]
@group(0) @binding(1) var<storage, read_write> grads: array<vec4<f32>>;         // [rows, S4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = (group.x + group.y * groups.x) * WG + lane;
  if (row >= p.rows) { return; }
  let start = row * p.S4;
  var sum4 = vec4<f32>(0.0);
  for (var s = 0u; s < p.S4; s++) {
    let w = weights[start + s];
    sum4 += select(vec4<f32>(0.0), w * grads[start + s], w != vec4<f32>(0.0));
  }
  let mean = dot(sum4, vec4<f32>(1.0));
  for (var s = 0u; s < p.S4; s++) {
    let w = weights[start + s];
    grads[start + s] = select(vec4<f32>(0.0), p.scale * w * (grads[start + s] - mean), w != vec4<f32>(0.0));
  }
}
