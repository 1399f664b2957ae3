// weights[row, s] ← exp(weights[row, s] − max), sums[row] = Σₛ of that: the softmax of score rows, not yet divided.
//
// weights [rows, S4] f32, in place, with LOWEST beyond the last key; sums [rows]. An invocation takes one row, in two
// passes.
//@use exponential score
const WG = 64u;

struct Params {
  rows: u32,
  S4: u32,       // vec4 per row
}

@group(0) @binding(0) var<storage, read_write> weights: array<vec4<f32>>;       // [rows, S4]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;                // [rows]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = (group.x + group.y * groups.x) * WG + lane;
  if (row >= p.rows) { return; }
  let start = row * p.S4;
  var top4 = vec4<f32>(LOWEST);
  for (var s = 0u; s < p.S4; s++) { top4 = max(top4, weights[start + s]); }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  var sum = vec4<f32>(0.0);
  for (var s = 0u; s < p.S4; s++) {
    let w = exponential(weights[start + s] - top);
    sum += w;
    weights[start + s] = w;
  }
  sums[row] = dot(sum, vec4<f32>(1.0));
}
