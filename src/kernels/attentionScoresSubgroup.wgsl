// weights[b, h, t, s] = scale · q[b, t0 + t, h, :]·k[b, s, h, :] + mask[b, h, t0 + t, s]: the scores of some queries,
// as a matrix, queries shared within a subgroup.
//
// q and k are parts of rows [B, T, q4] and [B, S, k4], mask [B or 1, heads or 1, T or 1, S], weights
// [B, heads, count, S4] f32. A subgroup of SG lanes, which is a workgroup, scores 8·EIGHTS consecutive queries of a
// head against 4·SG keys, in registers: for every vec4 of channels a lane loads that of its own four keys, but only of
// every SG-th query, and shares the latter with the others. Lanes beyond the edges work on clamped addresses, since all
// must take part, and store nothing. Keys beyond S become LOWEST.
//@use storage score eights shareEight
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const EIGHTS = 2u;         // 1 … 4
const HAS_MASK = false;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  t0: u32,          // first query
  count: u32,       // queries of this dispatch
  S: u32,           // keys
  S4: u32,          // vec4 per row of weights
  heads: u32,
  D4: u32,          // vec4 per head
  scale: f32,
  maskBatch: u32,   // elements of mask from one batch item to the next; 0 when shared
  maskHead: u32,    // elements of mask from one head to the next; 0 when shared
  maskRow: u32,     // elements of mask from one query to the next; 0 when shared
  q4: u32,          // vec4 per row of the tensor that holds q, and in front of q in it; likewise k
  qAt: u32,
  k4: u32,
  kAt: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Elem4>;                       // [B, T, q4]: [heads, D4] from qAt
@group(0) @binding(1) var<storage, read> k: array<Elem4>;                       // [B, S, k4]
@group(0) @binding(2) var<storage, read> mask: array<f32>;                      // [B|1, heads|1, T|1, S]
@group(0) @binding(3) var<storage, read_write> weights: array<vec4<f32>>;       // [B, heads, count, S4]
@group(0) @binding(4) var<uniform> p: Params;

// Where the query of a lane, and the one four further, start.
fn rows(start: u32, t: u32, lane: u32) -> vec2<u32> {
  let row = min(t + lane + vec2<u32>(0u, 4u), vec2<u32>(p.count - 1u));
  return (start + row) * p.q4;
}

fn load(at: vec2<u32>) -> Rows {
  var y: vec4<f32>;
  if (SG == 4u) { y = load4(q[at.y]); }
  return Rows(load4(q[at.x]), y);
}

// Scores of query i, of one batch item and head (z), against four keys.
fn put(z: u32, i: u32, s4: u32, sums: vec4<f32>) {
  let s = 4u * s4 + vec4<u32>(0u, 1u, 2u, 3u);
  var v = sums * p.scale;
  if (HAS_MASK) {
    let start = z / p.heads * p.maskBatch + z % p.heads * p.maskHead + (p.t0 + i) * p.maskRow;
    let at = start + min(s, vec4<u32>(p.S - 1u));
    v += vec4<f32>(clampMask(mask[at.x]), clampMask(mask[at.y]), clampMask(mask[at.z]), clampMask(mask[at.w]));
  }
  weights[(z * p.count + i) * p.S4 + s4] = select(vec4<f32>(LOWEST), v, s < vec4<u32>(p.S));
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let s4 = group.y * SG + lane;
  let t = group.x * 8u * EIGHTS;
  let b = group.z / p.heads;
  let head = group.z % p.heads;
  let key = (b * p.S + min(4u * s4 + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(p.S - 1u))) * p.k4 + p.kAt + head * p.D4;
  let offset = p.qAt + head * p.D4;
  let first = b * p.T + p.t0;
  let at0 = rows(first, t, lane) + offset;
  let at1 = rows(first, t + 8u, lane) + offset;
  let at2 = rows(first, t + 16u, lane) + offset;
  let at3 = rows(first, t + 24u, lane) + offset;
  var e0: Eight;
  var e1: Eight;
  var e2: Eight;
  var e3: Eight;
  for (var d = 0u; d < p.D4; d++) {
    let keys = transpose(mat4x4<f32>(load4(k[key.x + d]), load4(k[key.y + d]), load4(k[key.z + d]), load4(k[key.w + d])));
    let four = Block(keys[0], keys[1], keys[2], keys[3]);
    let r0 = load(at0 + d);
    var r1: Rows;
    var r2: Rows;
    var r3: Rows;
    if (EIGHTS > 1u) { r1 = load(at1 + d); }
    if (EIGHTS > 2u) { r2 = load(at2 + d); }
    if (EIGHTS > 3u) { r3 = load(at3 + d); }
    e0 = shareEight(e0, r0, four);
    if (EIGHTS > 1u) { e1 = shareEight(e1, r1, four); }
    if (EIGHTS > 2u) { e2 = shareEight(e2, r2, four); }
    if (EIGHTS > 3u) { e3 = shareEight(e3, r3, four); }
  }
  if (s4 >= p.S4) { return; }
  e0 = settle(e0, lane);
  if (EIGHTS > 1u) { e1 = settle(e1, lane); }
  if (EIGHTS > 2u) { e2 = settle(e2, lane); }
  if (EIGHTS > 3u) { e3 = settle(e3, lane); }
  // Eight by eight, so that few sums move from row to row: a vec4 that a loop carries is read, masked and written each
  // round.
  let end = min(t + 8u * EIGHTS, p.count);
  var i = t;
  loop {
    let stop = min(i + 8u, end);
    loop {
      put(group.z, i, s4, e0.s0);
      e0 = shiftEight(e0, e0.s0);
      continuing { i++; break if i >= stop; }
    }
    e0 = e1;
    if (EIGHTS > 2u) { e1 = e2; }
    if (EIGHTS > 3u) { e2 = e3; }
    continuing { break if i >= end; }
  }
}
