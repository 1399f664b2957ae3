// out = act(a · alpha ∘ b · beta), elementwise over rows of vec4; ∘ is +, ·, or the affine a · (1 + b) + c.
//
// a, out [items, item4]; b, c the same, or one row per item [items, C4] when BROADCAST. A workgroup handles EACH·WG
// consecutive vec4 of one item, an invocation every WG-th of them: on processors a workgroup costs as much as some
// vec4, and divisions are dear, so columns are counted on.
// No operation yields non-zero padding from zero padding: alpha, beta scale, and activate(0) is 0 but for the sigmoid,
// whose padding is cleared.
//@use storage activation
const WG = 64u;
const OP = 0u;             // 0: act(alpha·a)   1: act(alpha·a + beta·b)   2: act(alpha·a·b)   3: act(a·(1 + b) + c)
const BROADCAST = false;
const ACT = 0u;
const AHEAD = false;       // not with a sigmoid

struct Params {
  items: u32,     // batch items; 1 where no operand is broadcast
  item4: u32,     // vec4 per item
  parts: u32,     // workgroups per item
  each: u32,      // vec4 per invocation
  C4: u32,        // vec4 per row
  C: u32,         // channels
  alpha: f32,
  beta: f32,
}

@group(0) @binding(0) var<storage, read> a: array<Elem4>;               // [items, item4]
@group(0) @binding(1) var<storage, read> b: array<Elem4>;               // [items, item4] or [items, C4]
@group(0) @binding(2) var<storage, read> c: array<Elem4>;               // as b
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [items, item4]
@group(0) @binding(4) var<uniform> p: Params;

fn combined(i: u32, j: u32, alpha: f32, beta: f32) -> vec4<f32> {
  let v = load4(a[i]);
  if (OP == 0u) { return alpha * v; }
  if (OP == 1u) { return alpha * v + beta * load4(b[j]); }
  if (OP == 2u) { return alpha * v * load4(b[j]); }
  return v * (1.0 + load4(b[j])) + load4(c[j]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let index = group.x + group.y * groups.x;
  let item = index / p.parts;
  if (item >= p.items) { return; }
  let first = index % p.parts * p.each * WG;
  let end = min(first + p.each * WG, p.item4);
  var c4 = (first + lane) % p.C4;
  let C4 = p.C4;
  let stride = WG % C4;
  let base = item * p.item4;
  let row = item * C4;
  let alpha = p.alpha;
  let beta = p.beta;
  var n = first + lane;
  // Every index is checked against the length of its array. Lengths are asked for here, once; otherwise some drivers
  // divide to find one at each access.
  let shortest = min(min(arrayLength(&a), arrayLength(&b)), min(arrayLength(&c), arrayLength(&out)));
  if (n >= end || shortest == 0u) { return; }
  // With AHEAD, a round writes what the round before has read: an activation takes long from end to end, and a
  // processor computes it beside the next loads. Loops are tested at their end, so that no round runs with every lane
  // masked.
  let last = end + select(0u, WG, AHEAD);
  let start = n;
  var v = vec4<f32>(0.0);
  var y = vec4<f32>(0.0);
  loop {
    let i = base + n;
    if (AHEAD) { y = activate(v, ACT); }
    v = combined(i, select(i, row + c4, BROADCAST), alpha, beta);
    if (!AHEAD) { y = activate(v, ACT); }
    if (ACT == ACT_SIGMOID) { y = select(vec4<f32>(0.0), y, 4u * c4 + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(p.C)); }
    if (!AHEAD) { out[i] = store4(y); }
    if (AHEAD && n != start) { out[i - WG] = store4(y); }
    c4 += stride;
    if (c4 >= C4) { c4 -= C4; }
    continuing { n += WG; break if n >= last; }
  }
}
