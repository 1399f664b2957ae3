// m[q, t, o] = Σᵢ v[q, t, i] · w[q, i, o]: for each of the Q places in a tile a matrix product, its rows shared in a
// subgroup.
//
// v [Q, tiles, I4] f32, w [Q, I4, O4] in strips of 4×4 blocks (`packWinograd`), m [Q, tiles, O4] f32.
// A subgroup of SG lanes, which is a workgroup, computes 8·EIGHTS consecutive tiles × SG vec4 of output channels of one
// place: for every i4 a lane loads its own channels' block of w, but only every SG-th tile's vec4 of v, and shares that
// with the others. On processors a load per lane is what costs. Lanes beyond the edges work on clamped addresses, since
// all must take part, and store nothing.
// Accumulation in f32. Lavin & Gray 2015, section 4.3.
//@use storage eights shareEight
enable subgroups;
const SG = 8u;             // 4, 8 or 16: the width of a subgroup
const EIGHTS = 2u;         // 1 … 4
const STRIP = 8u;          // vec4 of output channels whose weights stand together; as packed

struct Params {
  tiles: u32,
  I4: u32,       // vec4 per tile of v
  O4: u32,       // vec4 per tile of m
  places: u32,   // Q
}

@group(0) @binding(0) var<storage, read> v: array<vec4<f32>>;           // [Q, tiles, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [Q, O4 / STRIP, I4, STRIP, 4]: 4 i of 4 o
@group(0) @binding(2) var<storage, read_write> m: array<vec4<f32>>;     // [Q, tiles, O4]
@group(0) @binding(3) var<uniform> p: Params;

// Where lane's row of the eight from t on, and the one four further, start.
fn rows(t: u32, lane: u32) -> vec2<u32> {
  return min(t + lane + vec2<u32>(0u, 4u), vec2<u32>(p.tiles - 1u)) * p.I4;
}

fn load(at: vec2<u32>) -> Rows {
  var y: vec4<f32>;
  if (SG == 4u) { y = v[at.y]; }
  return Rows(v[at.x], y);
}

@compute @workgroup_size(SG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let column = group.y * SG + lane;
  let o4 = min(column, p.O4 - 1u);
  let t0 = group.x * 8u * EIGHTS;
  let start = group.z * p.tiles * p.I4;
  let at0 = start + rows(t0, lane);
  let at1 = start + rows(t0 + 8u, lane);
  let at2 = start + rows(t0 + 16u, lane);
  let at3 = start + rows(t0 + 24u, lane);
  var e0: Eight;
  var e1: Eight;
  var e2: Eight;
  var e3: Eight;
  let strip = o4 / STRIP * STRIP;
  let step = min(STRIP, p.O4 - strip) * 4u;
  var at = (group.z * p.O4 + strip) * p.I4 * 4u + (o4 - strip) * 4u;
  var i4 = 0u;
  loop {
    // What is used first is loaded last, as in matmulSubgroup.
    var b: Block;
    b.w3 = load4(w[at + 3u]);
    b.w2 = load4(w[at + 2u]);
    b.w1 = load4(w[at + 1u]);
    b.w0 = load4(w[at]);
    at += step;
    let r0 = load(at0 + i4);
    var r1: Rows;
    var r2: Rows;
    var r3: Rows;
    if (EIGHTS > 1u) { r1 = load(at1 + i4); }
    if (EIGHTS > 2u) { r2 = load(at2 + i4); }
    if (EIGHTS > 3u) { r3 = load(at3 + i4); }
    e0 = shareEight(e0, r0, b);
    if (EIGHTS > 1u) { e1 = shareEight(e1, r1, b); }
    if (EIGHTS > 2u) { e2 = shareEight(e2, r2, b); }
    if (EIGHTS > 3u) { e3 = shareEight(e3, r3, b); }
    continuing { i4++; break if i4 >= p.I4; }
  }
  if (column >= p.O4) { return; }
  e0 = settle(e0, lane);
  if (EIGHTS > 1u) { e1 = settle(e1, lane); }
  if (EIGHTS > 2u) { e2 = settle(e2, lane); }
  if (EIGHTS > 3u) { e3 = settle(e3, lane); }
  let end = min(t0 + 8u * EIGHTS, p.tiles);
  var t = t0;
  loop {
    m[(group.z * p.tiles + t) * p.O4 + o4] = e0.s0;
    e0 = shiftEight(e0, e1.s0);
    if (EIGHTS > 1u) { e1 = shiftEight(e1, e2.s0); }
    if (EIGHTS > 2u) { e2 = shiftEight(e2, e3.s0); }
    if (EIGHTS > 3u) { e3 = shiftEight(e3, e3.s0); }
    continuing { t++; break if t >= end; }
  }
}
