// out[b, t, d] = (in[b, t, d] − mean) / √(var + eps) · (1 + m[b, scale + d]) + m[b, shift + d], mean and var over the D
// elements of a row: a layer norm whose scale and shift come from a condition (Peebles & Xie 2023, section 3.2).
//
// input, out [B, T, D4], m [B, stride], some of whose vectors are the two; D is a multiple of four. A subgroup of SG
// lanes, which is a workgroup, takes SG rows of one batch item, a lane each: once for mean and variance, once to write.
// What the rows share is loaded by the first lane and handed to the others: on processors a load per lane is what
// costs. Lanes beyond the last row repeat it, since all must take part, and store nothing. f32.
//@use storage moments
enable subgroups;
const SG = 8u;             // 8 or 16: the width of a subgroup
const RAGGED = false;

struct Params {
  B: u32,         // batch
  T: u32,         // rows per batch item
  parts: u32,     // workgroups per batch item
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

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.x + group.y * groups.x;
  let item = min(index / p.parts, p.B - 1u);
  let t = index % p.parts * SG + lane;
  let base = (item * p.T + min(t, p.T - 1u)) * p.D4;
  let writes = t < p.T && index / p.parts == item;
  let at = rowNormal(base, 4u * p.D4, p.eps);
  let scales = item * p.stride + p.scale;
  let shifts = item * p.stride + p.shift;
  let D4 = p.D4;
  var d4 = 0u;
  loop {
    var scale = vec4<f32>(0.0);
    var shift = vec4<f32>(0.0);
    if (lane == 0u) {
      scale = 1.0 + load4(m[scales + d4]);
      shift = load4(m[shifts + d4]);
    }
    let v = (load4(input[base + d4]) - at.x) * at.y * ofFirst(scale) + ofFirst(shift);
    if (writes) { out[base + d4] = store4(v); }
    continuing { d4++; break if d4 >= D4; }
  }
}
