// out[b, t0 + t, h, :] = Σₛ weights[b, h, t, s] · v[b, s, h, :] / sums[b, h, t]: values mixed by softmax weights, which
// are shared within a subgroup.
//
// weights [B, heads, count, S4] f32, v a part of rows [B, S, v4], sums [B, heads, count], out [B, T, heads, D4]. A
// subgroup of SG lanes, which is a workgroup, computes 8·EIGHTS consecutive queries × SG vec4 of channels of a head, in
// registers: for every four keys a lane loads its own channels of them, but only every SG-th query's weights, and
// shares the latter with the others. Lanes beyond the edges work on clamped addresses, since all must take part, and
// store nothing. Weights beyond the last key are zero.
//@use storage eights shareEight
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const EIGHTS = 2u;         // 1 … 4

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  t0: u32,          // first query
  count: u32,       // queries of this dispatch
  S: u32,           // keys
  S4: u32,          // vec4 per row of weights
  heads: u32,
  D4: u32,          // vec4 per head
  v4: u32,          // vec4 per row of the tensor that holds v
  vAt: u32,         // vec4 in front of v in it
}

@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;     // [B, heads, count, S4]
@group(0) @binding(1) var<storage, read> sums: array<f32>;              // [B, heads, count]
@group(0) @binding(2) var<storage, read> v: array<Elem4>;               // [B, S, v4], of which [heads, D4] behind vAt
@group(0) @binding(3) var<storage, read_write> out: array<Elem4>;       // [B, T, heads, D4]
@group(0) @binding(4) var<uniform> p: Params;

// Where the weights of a lane's query, and of the one four further, start.
fn rows(z: u32, t: u32, lane: u32) -> vec2<u32> {
  let row = min(t + lane + vec2<u32>(0u, 4u), vec2<u32>(p.count - 1u));
  return (z * p.count + row) * p.S4;
}

fn load(at: vec2<u32>) -> Rows {
  var y: vec4<f32>;
  if (SG == 4u) { y = weights[at.y]; }
  return Rows(weights[at.x], y);
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = group.y * SG + lane;
  let d = min(column, p.D4 - 1u);
  let t = group.x * 8u * EIGHTS;
  let values = group.z / p.heads * p.S * p.v4 + p.vAt + group.z % p.heads * p.D4 + d;
  let at0 = rows(group.z, t, lane);
  let at1 = rows(group.z, t + 8u, lane);
  let at2 = rows(group.z, t + 16u, lane);
  let at3 = rows(group.z, t + 24u, lane);
  var e0: Eight;
  var e1: Eight;
  var e2: Eight;
  var e3: Eight;
  for (var s4 = 0u; s4 < p.S4; s4++) {
    let at = values + min(4u * s4 + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.S - 1u)) * p.v4;
    let four = Block(load4(v[at.x]), load4(v[at.y]), load4(v[at.z]), load4(v[at.w]));
    let r0 = load(at0 + s4);
    var r1: Rows;
    var r2: Rows;
    var r3: Rows;
    if (EIGHTS > 1u) { r1 = load(at1 + s4); }
    if (EIGHTS > 2u) { r2 = load(at2 + s4); }
    if (EIGHTS > 3u) { r3 = load(at3 + s4); }
    e0 = shareEight(e0, r0, four);
    if (EIGHTS > 1u) { e1 = shareEight(e1, r1, four); }
    if (EIGHTS > 2u) { e2 = shareEight(e2, r2, four); }
    if (EIGHTS > 3u) { e3 = shareEight(e3, r3, four); }
  }
  if (column >= p.D4) { return; }
  e0 = settle(e0, lane);
  if (EIGHTS > 1u) { e1 = settle(e1, lane); }
  if (EIGHTS > 2u) { e2 = settle(e2, lane); }
  if (EIGHTS > 3u) { e3 = settle(e3, lane); }
  let b = group.z / p.heads;
  let end = min(t + 8u * EIGHTS, p.count);
  for (var i = t; i < end; i++) {
    let row = b * p.T + p.t0 + i;
    out[(row * p.heads + group.z % p.heads) * p.D4 + d] = store4(e0.s0 / sums[group.z * p.count + i]);
    e0 = shiftEight(e0, e1.s0);
    if (EIGHTS > 1u) { e1 = shiftEight(e1, e2.s0); }
    if (EIGHTS > 2u) { e2 = shiftEight(e2, e3.s0); }
    if (EIGHTS > 3u) { e3 = shiftEight(e3, e3.s0); }
  }
}
