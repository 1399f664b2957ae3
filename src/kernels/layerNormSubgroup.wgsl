// out[m, d] = (in[m, d] − mean[m]) / √(var[m] + eps) · gamma[d] + beta[d], mean and var over the D elements of a row.
//
// input, out [M, D4]. A subgroup of SG lanes, which is a workgroup, takes SG rows, a lane each: once for mean and
// variance, once to write. What all rows share is loaded by the first lane and handed to the others: on processors a
// load per lane is what costs. Lanes beyond the last row repeat it, since all must take part, and store nothing. f32.
//@use storage moments
enable subgroups;
const SG = 8u;             // 8 or 16: the width of a subgroup
const HAS_GAMMA = true;
const HAS_BETA = true;
const RAGGED = true;       // D may be no multiple of four

struct Params {
  M: u32,     // rows
  D: u32,     // elements per row
  D4: u32,    // vec4 per row
  eps: f32,
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [M, D4]
@group(0) @binding(1) var<storage, read> gamma: array<vec4<f32>>;           // [D4]
@group(0) @binding(2) var<storage, read> beta: array<vec4<f32>>;            // [D4]
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;           // [M, D4]
@group(0) @binding(4) var<uniform> p: Params;

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let m = (group.x + group.y * groups.x) * SG + lane;
  let base = min(m, p.M - 1u) * p.D4;
  let at = rowNormal(base, p.D, p.eps);
  let writes = m < p.M;
  let D4 = p.D4;
  var d4 = 0u;
  loop {
    var scale = vec4<f32>(1.0);
    var shift = vec4<f32>(0.0);
    if (HAS_GAMMA && lane == 0u) { scale = gamma[d4]; }
    if (HAS_BETA && lane == 0u) { shift = beta[d4]; }
    var v = (load4(input[base + d4]) - at.x) * at.y;
    if (HAS_GAMMA) { v *= ofFirst(scale); }
    if (HAS_BETA) { v += ofFirst(shift); }
    if (RAGGED) { v = select(vec4<f32>(0.0), v, 4u * d4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.D)); }
    if (writes) { out[base + d4] = store4(v); }
    continuing { d4++; break if d4 >= D4; }
  }
}
