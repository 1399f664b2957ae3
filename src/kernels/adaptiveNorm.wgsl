// out[b, t, d] = (in[b, t, d] − mean) / √(var + eps) · (1 + m[b, scale + d]) + m[b, shift + d], mean and var over the D
// elements of a row: a layer norm whose scale and shift come from a condition (Peebles & Xie 2023, section 3.2).
//
// input, out [B, T, D4], m [B, stride], some of whose vectors are the two; D is a multiple of four. A team of LANES
// invocations takes one row, each every LANES-th vec4 of it, for the moments as `teamMoments` does and once more to
// write. f32.
// LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use storage team teamMoments
const WG = 64u;
const LANES = 64u;         // divides WG

struct Params {
  M: u32,         // rows
  T: u32,         // rows per batch item
  D4: u32,        // vec4 per row
  stride: u32,    // vec4 per row of m
  scale: u32,     // vec4 in front of the scale
  shift: u32,     // vec4 in front of the shift
  eps: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, T, D4]
@group(0) @binding(1) var<storage, read> m: array<Elem4>;                   // [B, stride]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;           // [B, T, D4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last row and write nothing.
  let team = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let row = min(team, p.M - 1u);
  let base = row * p.D4;
  // Every index is checked against the length of its array. Lengths are asked for here, once; otherwise some drivers
  // divide to find one at each access.
  let shortest = min(min(arrayLength(&input), arrayLength(&m)), arrayLength(&out));
  let at = teamNormal(base, 4u * p.D4, p.eps, lane);
  if (team >= p.M || shortest == 0u) { return; }
  let vectors = row / p.T * p.stride;
  for (var d4 = lane % LANES; d4 < p.D4; d4 += LANES) {
    let v = (load4(input[base + d4]) - at.x) * at.y;
    out[base + d4] = store4(v * (1.0 + load4(m[vectors + p.scale + d4])) + load4(m[vectors + p.shift + d4]));
  }
}
