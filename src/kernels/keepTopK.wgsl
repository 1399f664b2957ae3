// out[m, d] = act(in[m, d]) where fewer than K elements of row m come before it, else 0. Larger ones come before
// smaller (by value or by magnitude), equal ones in their order.
//
// input, out [M, D4]. An invocation handles one vec4 and counts over its whole row: D²/4 loads per row.
//@use storage activation
const WG = 64u;
const BY_MAGNITUDE = false;
const ACT = 0u;

struct Params {
  M: u32,     // rows
  D: u32,     // elements per row
  D4: u32,    // vec4 per row
  K: u32,     // elements to keep
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [M, D4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;           // [M, D4]
@group(0) @binding(2) var<uniform> p: Params;

fn keyed(v: vec4<f32>) -> vec4<f32> {
  if (BY_MAGNITUDE) { return abs(v); }
  return v;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.M * p.D4) { return; }
  let row = (i / p.D4) * p.D4;
  let mine = 4u * (i % p.D4) + vec4<u32>(0u, 1u, 2u, 3u);
  let v = load4(input[i]);
  let key = keyed(v);
  var before = vec4<u32>(0u);
  for (var d = 0u; d < p.D; d++) {
    let other = vec4<f32>(keyed(load4(input[row + d / 4u]))[d % 4u]);
    let first = (other > key) | ((other == key) & (vec4<u32>(d) < mine));
    before += select(vec4<u32>(0u), vec4<u32>(1u), first);
  }
  let kept = (before < vec4<u32>(p.K)) & (mine < vec4<u32>(p.D));
  out[i] = store4(select(vec4<f32>(0.0), activate(v, ACT), kept));
}
