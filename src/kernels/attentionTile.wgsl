// out[b, t, h, :] = Σₛ softmaxₛ(scale · q[b, t, h, :]·k[b, s, h, :] + mask[b, h, t, s]) · v[b, s, h, :], tile by tile
// through workgroup memory.
//
// q, out [B, T, heads, D4], k, v [B, S, heads, D4], mask [B or 1, heads or 1, T or 1, S]. A workgroup owns QUERIES
// consecutive queries of one head and walks the keys KEYS at a time; the softmax is kept online (running maximum and
// sum; Milakov & Gimelshein 2018, Dao et al. 2022). For each tile of keys
//   1. queries and keys come into workgroup memory SLICE vec4 of channels at a time, and an invocation multiplies SQ of
//      the queries by four of the keys, in registers; DEPTH > 1: so many invocations share a product, each with some of
//      the channels;
//   2. scores go to workgroup memory, where TEAM invocations turn a row of them into weights;
//   3. values come VALUES keys at a time, and an invocation mixes OQ rows × COLS vec4 columns of the output, in
//      registers.
// Scores, softmax and output are accumulated in f32, which is also what the tiles hold. Rows of tiles are an odd number
// of vec4 apart and neighbours take neighbouring rows or columns, so that they read different banks. PARTS: the keys
// are shared out among several workgroups, and `attentionJoin` joins what they find.
// Indices are built, in main, of the invocation's own index and of counters of loops that go up by one to a constant:
// compilers then see that they are in range, and neither clamp them nor guard the loops.
//@use storage exponential score
const QUERIES = 64u;
const KEYS = 32u;
const SQ = 8u;
const DEPTH = 1u;
const SLICE = 8u;
const OX = 4u;             // invocations next to each other along the channels of the output
const VALUES = 16u;
const D4 = 16u;
const HAS_MASK = false;
const PARTS = false;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  S: u32,           // keys
  heads: u32,
  count: u32,       // keys of a part
  scale: f32,
  maskBatch: u32,   // elements of mask from one batch item to the next; 0 when shared
  maskHead: u32,    // elements of mask from one head to the next; 0 when shared
  maskRow: u32,     // elements of mask from one query to the next; 0 when shared
  q4: u32,          // vec4 per row of the tensor that holds q, and in front of q in it; likewise k and v
  qAt: u32,
  k4: u32,
  kAt: u32,
  v4: u32,
  vAt: u32,
}

@group(0) @binding(0) var<storage, read> q: array<Elem4>;                   // [B, T, q4]: [heads, D4] from qAt
@group(0) @binding(1) var<storage, read> k: array<Elem4>;                   // [B, S, k4]
@group(0) @binding(2) var<storage, read> v: array<Elem4>;                   // [B, S, v4]
@group(0) @binding(3) var<storage, read> mask: array<f32>;                  // [B|1, heads|1, T|1, S]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;           // [B, T, heads, D4]
@group(0) @binding(5) var<storage, read_write> found: array<vec4<f32>>;     // [parts, B, T, heads, D4 + 1], where PARTS
@group(0) @binding(6) var<uniform> p: Params;

const SX = KEYS / 4u;                           // invocations next to each other along the keys of a score …
const SY = QUERIES / SQ;                        // … and along the queries
const WG = SX * SY * DEPTH;
const TEAM = WG / QUERIES;
const OY = WG / OX;
const OQ = QUERIES / OY;
const COLS = (D4 + OX - 1u) / OX;
const STRIDE = SLICE | 1u;                      // vec4 from one row of a slice to the next
const WEIGHTS = (KEYS / 4u) | 1u;               // vec4 from one row of weights to the next
const KEY_AT = QUERIES * STRIDE;                // vec4 in front of the slice of keys
const VALUE_AT = QUERIES * WEIGHTS;             // vec4 in front of the values
// Columns beyond the last one are mixed too, of whatever lies there, and not stored.
const CELLS = max(max(KEY_AT + KEYS * STRIDE, VALUE_AT + VALUES * D4 + OX * COLS - D4), WG);

// [QUERIES, STRIDE] and [KEYS, STRIDE] of a slice, then [QUERIES, WEIGHTS] and [VALUES, D4].
var<workgroup> tile: array<vec4<f32>, CELLS>;
var<workgroup> keep: array<f32, QUERIES>;       // what remains of a row's earlier sums; at the end, its sum of weights

// Brings SLICE vec4, from d0 on, of all queries and of keys from s0 on. Keys lie so that those of an invocation, which
// are consecutive, are SX rows apart. The modulo changes nothing, but lets the compiler see that places are in range.
fn stageSlice(index: u32, row0: vec2<u32>, t0: u32, s0: u32, d0: u32) {
  let lane = index % WG;
  for (var i = 0u; i < (QUERIES * SLICE + WG - 1u) / WG; i++) {
    let at = i * WG + lane;
    if (at >= QUERIES * SLICE) { break; }
    let d = d0 + at % SLICE;
    var x = vec4<f32>(0.0);
    if (D4 % SLICE == 0u || d < D4) { x = load4(q[row0.x + min(t0 + at / SLICE, p.T - 1u) * p.q4 + d]); }
    tile[at / SLICE * STRIDE + at % SLICE] = x;
  }
  for (var i = 0u; i < (KEYS * SLICE + WG - 1u) / WG; i++) {
    let at = i * WG + lane;
    if (at >= KEYS * SLICE) { break; }
    let d = d0 + at % SLICE;
    let s = s0 + at / SLICE % SX * 4u + at / SLICE / SX;
    var x = vec4<f32>(0.0);
    if (D4 % SLICE == 0u || d < D4) { x = load4(k[row0.y + min(s, p.S - 1u) * p.k4 + d]); }
    tile[KEY_AT + at / SLICE * STRIDE + at % SLICE] = x;
  }
}

// Brings the values of VALUES keys from s0 on.
fn stageValues(index: u32, row0: u32, s0: u32) {
  let lane = index % WG;
  for (var i = 0u; i < (VALUES * D4 + WG - 1u) / WG; i++) {
    let at = i * WG + lane;
    if (at >= VALUES * D4) { break; }
    tile[VALUE_AT + at] = load4(v[row0 + min(s0 + at / D4, p.S - 1u) * p.v4 + at % D4]);
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t0 = group.x * QUERIES;
  let head = group.y;
  let b = group.z % p.B;
  let part = group.z / p.B;
  let rows = vec2<u32>(b * p.T * p.q4 + p.qAt, b * p.S * p.k4 + p.kAt) + head * D4;
  let values = b * p.S * p.v4 + p.vAt + head * D4;
  let masks = b * p.maskBatch + head * p.maskHead;
  let first = part * p.count;
  let end = min(p.S, first + p.count);
  let sx = lane % SX;
  let sy = lane / SX % SY;
  let depth = lane / (SX * SY);
  let row = lane / TEAM;
  let member = lane % TEAM;
  let ox = lane % OX;
  let oy = lane / OX;
  var acc: array<vec4<f32>, OQ * COLS>;
  var top = LOWEST;
  var sum = vec4<f32>(0.0);
  for (var s0 = first; s0 < end; s0 += KEYS) {
    var score: array<f32, 4u * SQ>;
    // Some drivers keep what the last turn of the loop left.
    for (var i = 0u; i < 4u * SQ; i++) { score[i] = 0.0; }
    for (var slice = 0u; slice < (D4 + SLICE - 1u) / SLICE; slice++) {
      workgroupBarrier();
      stageSlice(lane, rows, t0, s0, slice * SLICE);
      workgroupBarrier();
      for (var i = 0u; i < SLICE / DEPTH; i++) {
        let d = i * DEPTH + depth;
        var x: array<vec4<f32>, SQ>;
        for (var r = 0u; r < SQ; r++) { x[r] = tile[(r * SY + sy) * STRIDE + d]; }
        for (var j = 0u; j < 4u; j++) {
          let y = tile[KEY_AT + (j * SX + sx) * STRIDE + d];
          for (var r = 0u; r < SQ; r++) {
            let rest = fma(x[r].z, y.z, fma(x[r].w, y.w, score[4u * r + j]));
            score[4u * r + j] = fma(x[r].x, y.x, fma(x[r].y, y.y, rest));
          }
        }
      }
    }
    workgroupBarrier();
    stageValues(lane, values, s0);
    for (var g = 0u; g < DEPTH; g++) {
      if (depth == g) {
        for (var r = 0u; r < SQ; r++) {
          let at = (r * SY + sy) * WEIGHTS + sx;
          var x = vec4<f32>(score[4u * r], score[4u * r + 1u], score[4u * r + 2u], score[4u * r + 3u]) * p.scale;
          if (g > 0u) { x += tile[at]; }
          if (g == DEPTH - 1u) {
            let s = s0 + 4u * sx + vec4<u32>(0u, 1u, 2u, 3u);
            if (HAS_MASK) {
              let m = masks + min(t0 + r * SY + sy, p.T - 1u) * p.maskRow + min(s, vec4<u32>(p.S - 1u));
              x += vec4<f32>(clampMask(mask[m.x]), clampMask(mask[m.y]), clampMask(mask[m.z]), clampMask(mask[m.w]));
            }
            x = select(vec4<f32>(LOWEST), x, s < vec4<u32>(end));
          }
          tile[at] = x;
        }
      }
      workgroupBarrier();
    }
    var newTop = top;
    if (lane < QUERIES * TEAM) {
      var high = vec4<f32>(top);
      for (var i = 0u; i < KEYS / 4u; i++) { high = max(high, tile[row * WEIGHTS + i]); }
      newTop = max(max(high.x, high.y), max(high.z, high.w));
    }
    if (TEAM > 1u) { workgroupBarrier(); }
    if (lane < QUERIES * TEAM) {
      let factor = exponential(vec4<f32>(top - newTop)).x;
      sum *= factor;
      for (var i = 0u; i < KEYS / 4u / TEAM; i++) {
        let at = row * WEIGHTS + i * TEAM + member;
        let w = exponential(tile[at] - newTop);
        sum += w;
        tile[at] = w;
      }
      if (member == 0u) { keep[row] = factor; }
    }
    top = newTop;
    workgroupBarrier();
    for (var r = 0u; r < OQ; r++) {
      let factor = keep[r * OY + oy];
      for (var c = 0u; c < COLS; c++) { acc[r * COLS + c] *= factor; }
    }
    for (var some = 0u; some < KEYS / VALUES; some++) {
      if (some > 0u) {
        workgroupBarrier();
        stageValues(lane, values, s0 + some * VALUES);
        workgroupBarrier();
      }
      for (var i = 0u; i < VALUES / 4u; i++) {
        var w: array<vec4<f32>, OQ>;
        for (var r = 0u; r < OQ; r++) { w[r] = tile[(r * OY + oy) * WEIGHTS + some * (VALUES / 4u) + i]; }
        for (var c = 0u; c < COLS; c++) {
          let at = VALUE_AT + 4u * i * D4 + c * OX + ox;
          let x0 = tile[at];
          let x1 = tile[at + D4];
          let x2 = tile[at + 2u * D4];
          let x3 = tile[at + 3u * D4];
          for (var r = 0u; r < OQ; r++) {
            var mixed = fma(vec4<f32>(w[r].x), x0, acc[r * COLS + c]);
            mixed = fma(vec4<f32>(w[r].y), x1, mixed);
            mixed = fma(vec4<f32>(w[r].z), x2, mixed);
            acc[r * COLS + c] = fma(vec4<f32>(w[r].w), x3, mixed);
          }
        }
      }
    }
  }
  workgroupBarrier();
  tile[lane] = sum;
  workgroupBarrier();
  if (lane < QUERIES * TEAM && member == 0u) {
    var total = vec4<f32>(0.0);
    for (var i = 0u; i < TEAM; i++) { total += tile[lane + i]; }
    keep[row] = dot(total, vec4<f32>(1.0));
    if (PARTS && t0 + row < p.T) {
      let at = ((part * p.B + b) * p.T + t0 + row) * p.heads + head;
      found[at * (D4 + 1u) + D4] = vec4<f32>(top, keep[row], 0.0, 0.0);
    }
  }
  workgroupBarrier();
  for (var r = 0u; r < OQ; r++) {
    let t = t0 + r * OY + oy;
    if (t >= p.T) { break; }
    for (var c = 0u; c < COLS; c++) {
      let column = c * OX + ox;
      if (column >= D4) { break; }
      let at = (b * p.T + t) * p.heads + head;
      if (PARTS) {
        found[(part * p.B * p.T * p.heads + at) * (D4 + 1u) + column] = acc[r * COLS + c];
      } else {
        out[at * D4 + column] = store4(acc[r * COLS + c] / keep[r * OY + oy]);
      }
    }
  }
}
