// out[m, n] = (act(Σₛ sums[s, m, n] + bias[n]) · gate[m / T, n] + residual[m, n]) · scale: second pass of a product
// whose sums `matmulSplit` computed in parts.
//
// GATED: sums and bias hold 2·N columns, vec4 by vec4 a column of values and one of gates, and out is
// values · act(gates). sums [parts, M, columns] f32, out [M, N4]. An invocation computes one vec4.
//@use storage activation linearOut
const WG = 64u;
const ACT = 0u;
const HAS_BIAS = true;
const HAS_RESIDUAL = false;
const IN_PLACE = false;
const HAS_GATE = false;
const GATED = false;

struct Params {
  M: u32,         // rows
  parts: u32,
  columns: u32,   // vec4 columns of sums
  N4: u32,        // vec4 per row of out
  N: u32,         // columns of out
  T: u32,         // rows per batch item
  gate4: u32,     // vec4 per row of gate
  gateAt: u32,    // vec4 in front of the gate in it
  scale: f32,     // applied last
  acts: u32,      // 1 where the activation applies
  adds: u32,      // 1 where a residual is added
}

@group(0) @binding(0) var<storage, read> sums: array<vec4<f32>>;        // [parts, M, columns]
@group(0) @binding(1) var<storage, read> bias: array<vec4<f32>>;        // [columns]
@group(0) @binding(2) var<storage, read> residual: array<Elem4>;        // [M, N4]
@group(0) @binding(3) var<storage, read> gate: array<Elem4>;            // [B, gate4]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [M, N4]
@group(0) @binding(5) var<uniform> p: Params;

fn joined(m: u32, column: u32) -> vec4<f32> {
  var sum = vec4<f32>(0.0);
  for (var s = 0u; s < p.parts; s++) { sum += sums[(s * p.M + m) * p.columns + column]; }
  if (HAS_BIAS) { sum += bias[column]; }
  return sum;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.M * p.N4) { return; }
  let m = i / p.N4;
  let n4 = i % p.N4;
  if (GATED) { put(m, n4, joined(m, 2u * n4) * activate(joined(m, 2u * n4 + 1u), ACT)); } else { finish(m, n4, joined(m, n4)); }
}
