// out[row, :] = Σₚ e^(topₚ − top) · found[p, row, :] / Σₚ e^(topₚ − top) · sumₚ, top the largest topₚ: joins what
// `attentionTile` found in parts of the keys.
//
// found [parts, rows, D4 + 1] f32, of which the last vec4 holds topₚ and sumₚ; out [rows, D4]. A row is a query of a
// head. An invocation computes one vec4.
//@use storage exponential score
const WG = 64u;

struct Params {
  rows: u32,
  parts: u32,
  D4: u32,        // vec4 per row of out
}

@group(0) @binding(0) var<storage, read> found: array<vec4<f32>>;       // [parts, rows, D4 + 1]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [rows, D4]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.rows * p.D4) { return; }
  var top = LOWEST;
  var sum = 0.0;
  var mixed = vec4<f32>(0.0);
  for (var part = 0u; part < p.parts; part++) {
    let start = (part * p.rows + i / p.D4) * (p.D4 + 1u);
    let state = found[start + p.D4];
    let newTop = max(top, state.x);
    let factors = exponential(vec4<f32>(top, state.x, newTop, newTop) - newTop);
    mixed = mixed * factors.x + found[start + i % p.D4] * factors.y;
    sum = sum * factors.x + state.y * factors.y;
    top = newTop;
  }
  out[i] = store4(mixed / sum);
}
