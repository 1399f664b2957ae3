// out[b, t, h, :] = Σₛ softmaxₛ(scale · q[b, t, h, :]·k[b, s, h, :] + mask[b, h, t, s]) · v[b, s, h, :], by subgroup
// matrices: halves multiplied, scores, their softmax and sums in f32, weights rounded to halves.
//
// q, out [B, T, heads, D4], k, v [B, S, heads, D4], mask [B or 1, heads or 1, T or 1, S]. Matrices are MM × MK by
// MK × MN, each 8 or 16; subgroups have a lane for every eight sums of one. A workgroup of DOWN × ACROSS subgroups owns
// MM·DOWN consecutive queries of one head, walks the keys MN·ACROSS at a time, and keeps the softmax online (Milakov &
// Gimelshein 2018, Dao et al. 2022). For each tile of keys a subgroup multiplies MM queries by MN keys; scores pass
// through workgroup memory, where TEAM lanes turn a row of them into weights; and a subgroup mixes MM rows × MN·COLS
// channels.
//
// Which lane holds which of its sums is the driver's secret, so they cannot be scaled row by row where they are. They
// are taken out, into registers of a known order, where a row's maximum grows by more than SLACK, which is rare after
// the first keys: until then weights may be up to e^SLACK, which halves hold as well as any.
// `pool` holds a vec4 of halves, or two f32, to a vec2<u32>, in rows of two more than they hold, so that eight rows of
// 16 bytes stand in different banks. While one tile is worked on, the next is on its way into registers. Takes
// subgroups for runs of SG consecutive invocations, which is why places that depend on a lane's subgroup are the same
// within one; the compiler cannot know. It can know, and must, that places are in range (see `modules/matrix.wgsl`).
//@use storage exponential score
diagnostic(off, chromium.subgroup_matrix_uniformity);
enable f16;
enable chromium_experimental_subgroup_matrix;
const MM = 16u;
const MN = 16u;
const MK = 16u;
const DOWN = 2u;
const ACROSS = 2u;
const D4 = 16u;            // at most 5/4·MN·ACROSS
const HAS_MASK = false;

struct Params {
  B: u32,           // batch
  T: u32,           // queries
  S: u32,           // keys
  heads: u32,
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

@group(0) @binding(0) var<storage, read> q: array<Elem4>;               // [B, T, q4], of which [heads, D4] behind qAt
@group(0) @binding(1) var<storage, read> k: array<Elem4>;               // [B, S, k4]
@group(0) @binding(2) var<storage, read> v: array<Elem4>;               // [B, S, v4]
@group(0) @binding(3) var<storage, read> mask: array<f32>;              // [B|1, heads|1, T|1, S]
@group(0) @binding(4) var<storage, read_write> out: array<Elem4>;       // [B, T, heads, D4]
@group(0) @binding(5) var<uniform> p: Params;

const SG = MM * MN / 8u;                        // lanes of a subgroup
const WG = SG * DOWN * ACROSS;
const QUERIES = MM * DOWN;
const KEYS = MN * ACROSS;
const TEAM = MN / 8u * ACROSS;                  // lanes of a row, eight keys each
const UNIT4 = max(MN, MK) / 4u;
const PAD4 = (D4 + UNIT4 - 1u) / UNIT4 * UNIT4; // vec4 per query, key and value in whole matrices …
const BLOCKS = 4u * PAD4 / MN;                  // … which are so many from side to side …
const COLS = (BLOCKS + ACROSS - 1u) / ACROSS;   // … of which a subgroup mixes so many
const STEP = PAD4 + 2u;                         // from one query, key or value to the next
const SCORE_STEP = MN / 2u * ACROSS + 2u;       // from one row of scores to the next; the last two are shared by a team
const KEY_AT = QUERIES * STEP;                  // where keys begin, and later the values of the same
const SCORE_AT = KEY_AT + KEYS * STEP;
const LOADS = (KEYS * PAD4 + WG - 1u) / WG;
const SLACK = 8.0;

alias Left = subgroup_matrix_left<f16, MK, MM>;
alias Right = subgroup_matrix_right<f16, MN, MK>;
alias Result = subgroup_matrix_result<f32, MN, MM>;
alias Loads = array<vec2<u32>, LOADS>;

var<workgroup> pool: array<vec2<u32>, SCORE_AT + QUERIES * SCORE_STEP>;
var<workgroup> keep: array<f32, QUERIES>;       // what remains of a row's earlier sums
var<workgroup> growing: atomic<u32>;
var<workgroup> grows: u32;                      // the same for all to read

// Eight neighbouring channels of a row.
struct Pair {
  first: vec4<f32>,
  second: vec4<f32>,
}

fn halves(e: Elem4) -> vec2<u32> { return bitcast<vec2<u32>>(vec4<f16>(e)); }

fn loadKeys(row0: u32, s0: u32, lane: u32) -> Loads {
  var x: Loads;
  for (var i = 0u; i < LOADS; i++) {
    let d = (i * WG + lane) % PAD4;
    let s = min(s0 + (i * WG + lane) / PAD4, p.S - 1u);
    if (D4 == PAD4 || d < D4) { x[i] = halves(k[row0 + s * p.k4 + d]); }
  }
  return x;
}

fn loadValues(row0: u32, s0: u32, lane: u32) -> Loads {
  var x: Loads;
  for (var i = 0u; i < LOADS; i++) {
    let d = (i * WG + lane) % PAD4;
    let s = min(s0 + (i * WG + lane) / PAD4, p.S - 1u);
    if (D4 == PAD4 || d < D4) { x[i] = halves(v[row0 + s * p.v4 + d]); }
  }
  return x;
}

fn stage(x: Loads, lane: u32) {
  for (var i = 0u; i < LOADS; i++) {
    let at = i * WG + lane % WG;
    if (KEYS * PAD4 % WG == 0u || at < KEYS * PAD4) { pool[KEY_AT + at / PAD4 * STEP + at % PAD4] = x[i]; }
  }
}

// The scores that a lane makes weights of.
fn scoresOf(lane: u32) -> Pair {
  let at = SCORE_AT + lane % WG / TEAM * SCORE_STEP + 4u * (lane % TEAM);
  return Pair(bitcast<vec4<f32>>(vec4<u32>(pool[at], pool[at + 1u])),
              bitcast<vec4<f32>>(vec4<u32>(pool[at + 2u], pool[at + 3u])));
}

// Adds a lane's part of the sums that its subgroup has stored to those that were taken out before, and multiplies both
// by what remains of a row.
fn together(taken: Pair, lane: u32, factor: f32) -> Pair {
  let own = lane % WG;
  let slot = SCORE_AT + own / SG / ACROSS * MM * SCORE_STEP + own / SG % ACROSS * (MN / 2u);
  let at = slot + own % SG / (MN / 8u) * SCORE_STEP + 4u * (own % (MN / 8u));
  let first = bitcast<vec4<f32>>(vec4<u32>(pool[at], pool[at + 1u]));
  let second = bitcast<vec4<f32>>(vec4<u32>(pool[at + 2u], pool[at + 3u]));
  return Pair((taken.first + first) * factor, (taken.second + second) * factor);
}

fn halvesOf(x: vec4<f32>) -> vec2<u32> { return vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw)); }

// Scores of four keys from s on, of which all beyond the last weigh nothing.
fn finishScores(x: vec4<f32>, masks: u32, s: vec4<u32>) -> vec4<f32> {
  var y = x * p.scale;
  if (HAS_MASK) {
    let m = masks + min(s, vec4<u32>(p.S - 1u));
    y += vec4<f32>(clampMask(mask[m.x]), clampMask(mask[m.y]), clampMask(mask[m.z]), clampMask(mask[m.w]));
  }
  return select(vec4<f32>(LOWEST), y, s < vec4<u32>(p.S));
}

fn put(row: u32, column: u32, x: Pair, factor: f32) {
  if (column < D4) { out[row * D4 + column] = store4(x.first * factor); }
  if (column + 1u < D4) { out[row * D4 + column + 1u] = store4(x.second * factor); }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t0 = group.x * QUERIES;
  let head = group.y;
  let b = group.z;
  let queries = b * p.T * p.q4 + p.qAt + head * D4;
  let keys = b * p.S * p.k4 + p.kAt + head * D4;
  let values = b * p.S * p.v4 + p.vAt + head * D4;
  let row = lane / TEAM;
  let member = lane % TEAM;
  let masks = b * p.maskBatch + head * p.maskHead + min(t0 + row, p.T - 1u) * p.maskRow;
  let down = lane / SG / ACROSS;
  let across = lane / SG % ACROSS;
  let rowOfSums = down * MM + lane % SG / (MN / 8u);
  let slot = SCORE_AT + down * MM * SCORE_STEP + across * (MN / 2u);
  let shared4 = SCORE_AT + row * SCORE_STEP + MN / 2u * ACROSS;
  let column0 = MN / 4u * min(across * COLS, BLOCKS - 1u);
  let column1 = MN / 4u * min(across * COLS + 1u, BLOCKS - 1u);
  let column2 = MN / 4u * min(across * COLS + 2u, BLOCKS - 1u);
  let column3 = MN / 4u * min(across * COLS + 3u, BLOCKS - 1u);
  let column4 = MN / 4u * min(across * COLS + 4u, BLOCKS - 1u);
  for (var i = 0u; i < (QUERIES * PAD4 + WG - 1u) / WG; i++) {
    let at = i * WG + lane;
    let d = at % PAD4;
    var x: vec2<u32>;
    if (D4 == PAD4 || d < D4) { x = halves(q[queries + min(t0 + at / PAD4, p.T - 1u) * p.q4 + d]); }
    if (QUERIES * PAD4 % WG == 0u || at < QUERIES * PAD4) { pool[at / PAD4 * STEP + d] = x; }
  }
  var held = loadKeys(keys, 0u, lane);
  var top = LOWEST;
  var sum = vec4<f32>(0.0);
  var c0: Result;
  var c1: Result;
  var c2: Result;
  var c3: Result;
  var c4: Result;
  var o0: Pair;
  var o1: Pair;
  var o2: Pair;
  var o3: Pair;
  var o4: Pair;
  for (var s0 = 0u; s0 < p.S; s0 += KEYS) {
    workgroupBarrier();
    stage(held, lane);
    workgroupBarrier();
    held = loadValues(values, s0, lane);
    var scores = Result();
    for (var d = 0u; d < 4u * PAD4 / MK; d++) {
      let x = subgroupMatrixLoad<Left, row_major>(&pool, down * MM * STEP + MK / 4u * d, STEP);
      let y = subgroupMatrixLoad<Right, col_major>(&pool, KEY_AT + across * MN * STEP + MK / 4u * d, STEP);
      scores = subgroupMatrixMultiplyAccumulate(x, y, scores);
    }
    subgroupMatrixStore<row_major>(&pool, slot, scores, SCORE_STEP);
    workgroupBarrier();
    stage(held, lane);
    let mine = scoresOf(lane);
    let s = s0 + 8u * member + vec4<u32>(0u, 1u, 2u, 3u);
    let first = finishScores(mine.first, masks, s);
    let second = finishScores(mine.second, masks, s + 4u);
    let high4 = max(first, second);
    let high = max(max(high4.x, high4.y), max(high4.z, high4.w));
    pool[shared4 + member / 2u][member % 2u] = bitcast<u32>(high);
    workgroupBarrier();
    var rowTop = top;
    for (var i = 0u; i < TEAM; i++) { rowTop = max(rowTop, bitcast<f32>(pool[shared4 + i / 2u][i % 2u])); }
    if (rowTop > top + SLACK) { atomicStore(&growing, 1u); }
    workgroupBarrier();
    if (lane == 0u) { grows = atomicExchange(&growing, 0u); }
    if (workgroupUniformLoad(&grows) == 1u) {
      let factor = exponential(vec4<f32>(top - rowTop)).x;
      top = rowTop;
      sum *= factor;
      if (member == 0u) { keep[row] = factor; }
      workgroupBarrier();
      if (s0 > 0u) {
        let left = keep[rowOfSums];
        subgroupMatrixStore<row_major>(&pool, slot, c0, SCORE_STEP);
        workgroupBarrier();
        o0 = together(o0, lane, left);
        c0 = Result();
        if (COLS > 1u) {
          workgroupBarrier();
          subgroupMatrixStore<row_major>(&pool, slot, c1, SCORE_STEP);
          workgroupBarrier();
          o1 = together(o1, lane, left);
          c1 = Result();
        }
        if (COLS > 2u) {
          workgroupBarrier();
          subgroupMatrixStore<row_major>(&pool, slot, c2, SCORE_STEP);
          workgroupBarrier();
          o2 = together(o2, lane, left);
          c2 = Result();
        }
        if (COLS > 3u) {
          workgroupBarrier();
          subgroupMatrixStore<row_major>(&pool, slot, c3, SCORE_STEP);
          workgroupBarrier();
          o3 = together(o3, lane, left);
          c3 = Result();
        }
        if (COLS > 4u) {
          workgroupBarrier();
          subgroupMatrixStore<row_major>(&pool, slot, c4, SCORE_STEP);
          workgroupBarrier();
          o4 = together(o4, lane, left);
          c4 = Result();
        }
        workgroupBarrier();
      }
    }
    let w0 = exponential(first - top);
    let w1 = exponential(second - top);
    sum += w0 + w1;
    pool[SCORE_AT + row * SCORE_STEP + 2u * member] = halvesOf(w0);
    pool[SCORE_AT + row * SCORE_STEP + 2u * member + 1u] = halvesOf(w1);
    workgroupBarrier();
    if (s0 + KEYS < p.S) { held = loadKeys(keys, s0 + KEYS, lane); }
    for (var i = 0u; i < KEYS / MK; i++) {
      let x = subgroupMatrixLoad<Left, row_major>(&pool, SCORE_AT + down * MM * SCORE_STEP + MK / 4u * i, SCORE_STEP);
      let lines = KEY_AT + i * MK * STEP;
      let y0 = subgroupMatrixLoad<Right, row_major>(&pool, lines + column0, STEP);
      c0 = subgroupMatrixMultiplyAccumulate(x, y0, c0);
      if (COLS > 1u) {
        let y1 = subgroupMatrixLoad<Right, row_major>(&pool, lines + column1, STEP);
        c1 = subgroupMatrixMultiplyAccumulate(x, y1, c1);
      }
      if (COLS > 2u) {
        let y2 = subgroupMatrixLoad<Right, row_major>(&pool, lines + column2, STEP);
        c2 = subgroupMatrixMultiplyAccumulate(x, y2, c2);
      }
      if (COLS > 3u) {
        let y3 = subgroupMatrixLoad<Right, row_major>(&pool, lines + column3, STEP);
        c3 = subgroupMatrixMultiplyAccumulate(x, y3, c3);
      }
      if (COLS > 4u) {
        let y4 = subgroupMatrixLoad<Right, row_major>(&pool, lines + column4, STEP);
        c4 = subgroupMatrixMultiplyAccumulate(x, y4, c4);
      }
    }
  }
  pool[shared4 + member / 2u][member % 2u] = bitcast<u32>(dot(sum, vec4<f32>(1.0)));
  workgroupBarrier();
  let t = t0 + rowOfSums;
  let sums4 = SCORE_AT + rowOfSums * SCORE_STEP + MN / 2u * ACROSS;
  var total = 0.0;
  for (var i = 0u; i < TEAM; i++) { total += bitcast<f32>(pool[sums4 + i / 2u][i % 2u]); }
  subgroupMatrixStore<row_major>(&pool, slot, c0, SCORE_STEP);
  workgroupBarrier();
  o0 = together(o0, lane, 1.0);
  if (COLS > 1u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&pool, slot, c1, SCORE_STEP);
    workgroupBarrier();
    o1 = together(o1, lane, 1.0);
  }
  if (COLS > 2u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&pool, slot, c2, SCORE_STEP);
    workgroupBarrier();
    o2 = together(o2, lane, 1.0);
  }
  if (COLS > 3u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&pool, slot, c3, SCORE_STEP);
    workgroupBarrier();
    o3 = together(o3, lane, 1.0);
  }
  if (COLS > 4u) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&pool, slot, c4, SCORE_STEP);
    workgroupBarrier();
    o4 = together(o4, lane, 1.0);
  }
  if (t >= p.T) { return; }
  let at = (b * p.T + t) * p.heads + head;
  let column = MN / 4u * across * COLS + 2u * (lane % (MN / 8u));
  let factor = 1.0 / total;
  put(at, column, o0, factor);
  // A subgroup's columns end where the next one's begin, and those of the last at the edge.
  if (COLS > 1u) { put(at, column + MN / 4u, o1, factor); }
  if (COLS > 2u) { put(at, column + 2u * MN / 4u, o2, factor); }
  if (COLS > 3u) { put(at, column + 3u * MN / 4u, o3, factor); }
  if (COLS > 4u) { put(at, column + 4u * MN / 4u, o4, factor); }
}
