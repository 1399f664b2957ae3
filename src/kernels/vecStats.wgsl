// parts[b, j] = (count, mean, Σ(x − mean)²) of elements j, j + parts, j + 2·parts … of item b: the first stage of norm
// and standard deviation, which merge by Chan's formula.
//
// input [batch, item] f32, strided. An invocation makes one part in two passes over its elements, so nothing cancels.
const WG = 64u;

struct Params {
  batch: u32,
  parts: u32,    // per item
  item: u32,     // elements per item
  offset: u32,   // elements
  stride: u32,   // elements
}

@group(0) @binding(0) var<storage, read> input: array<f32>;             // strided
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;   // [batch, parts]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.batch * p.parts) { return; }
  let start = p.offset + (i / p.parts) * p.stride;
  let first = i % p.parts;
  var count = 0.0;
  var sum = 0.0;
  for (var e = first; e < p.item; e += p.parts) {
    sum += input[start + e];
    count += 1.0;
  }
  let mean = sum / max(count, 1.0);
  var spread = 0.0;
  for (var e = first; e < p.item; e += p.parts) {
    let d = input[start + e] - mean;
    spread = fma(d, d, spread);
  }
  out[i] = vec4<f32>(count, mean, spread, 0.0);
}
