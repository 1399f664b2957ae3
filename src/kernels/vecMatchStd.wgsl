// out[b] = amount · std(reference[b]) / std(v[b]) + 1 − amount, from the parts that vecStats made of both.
//
// v, reference [batch, parts], out [batch] f32. An invocation merges the parts of one item (Chan, Golub & LeVeque
// 1983).
const WG = 64u;

struct Params {
  batch: u32,
  parts: u32,     // per item
  amount: f32,
}

@group(0) @binding(0) var<storage, read> v: array<vec4<f32>>;           // [batch, parts]: count, mean, Σ(x − mean)²
@group(0) @binding(1) var<storage, read> reference: array<vec4<f32>>;   // [batch, parts]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;         // [batch]
@group(0) @binding(3) var<uniform> p: Params;

fn merge(a: vec3<f32>, b: vec3<f32>) -> vec3<f32> {
  let count = a.x + b.x;
  let d = b.y - a.y;
  let share = b.x / count;
  return vec3<f32>(count, fma(d, share, a.y), a.z + b.z + d * d * a.x * share);
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  if (gid.x >= p.batch) { return; }
  let start = gid.x * p.parts;
  var a = v[start].xyz;
  var b = reference[start].xyz;
  for (var j = 1u; j < p.parts; j++) {
    a = merge(a, v[start + j].xyz);
    b = merge(b, reference[start + j].xyz);
  }
  out[gid.x] = p.amount * sqrt(b.z / a.z) + 1.0 - p.amount;
}
