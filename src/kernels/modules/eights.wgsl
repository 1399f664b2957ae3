// Products of eight rows by a 4×4 block of a matrix, the rows shared within a subgroup. The kernel enables subgroups
// and declares SG, their width, 4, 8 or 16. Sums have names, since an array of them would lie in memory on drivers that
// do not unroll.

// Sums of eight rows × one vec4 column.
struct Eight {
  s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>, s4: vec4<f32>, s5: vec4<f32>, s6: vec4<f32>, s7: vec4<f32>
}

// Four rows of four columns.
struct Block { w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32> }

// Eight rows: lane i holds row i in x, and row 4 + i in y, which is only looked at where a subgroup has four lanes.
struct Rows { x: vec4<f32>, y: vec4<f32> }

// A kernel loads all rows and the block of a turn before it multiplies the first: drivers on processors branch for
// every lane of a load, so what stands between two loads is compiled by itself, and all sums go through memory in
// between.

// Row 4 is lane 4's where a subgroup has as many.
const FIFTH = 4u % SG;

fn eightTimes(v: vec4<f32>) -> Eight { return Eight(v, v, v, v, v, v, v, v); }

// sum + x · b, one component of it after the other: of products of vectors, SwiftShader's compiler puts every one into
// memory before it adds them.
fn madd(sum: vec4<f32>, x: vec4<f32>, b: Block) -> vec4<f32> {
  return vec4<f32>(
    sum.x + x.x * b.w0.x + x.y * b.w1.x + x.z * b.w2.x + x.w * b.w3.x,
    sum.y + x.x * b.w0.y + x.y * b.w1.y + x.z * b.w2.y + x.w * b.w3.y,
    sum.z + x.x * b.w0.z + x.y * b.w1.z + x.z * b.w2.z + x.w * b.w3.z,
    sum.w + x.x * b.w0.w + x.y * b.w1.w + x.z * b.w2.w + x.w * b.w3.w);
}

// Adds eight rows times b. Four lanes swap rows instead of handing them out, which takes fewer instructions: lane i
// then has the sums of row i in s0, of row i ^ 1 in s1, i ^ 2 in s2 and i ^ 3 in s3, likewise in s4 … s7, until
// `settle` puts them in order.
fn maddEight(e: Eight, rows: Rows, b: Block) -> Eight {
  let x = rows.x;
  if (SG == 4u) {
    let y = rows.y;
    return Eight(
      madd(e.s0, x, b), madd(e.s1, quadSwapX(x), b), madd(e.s2, quadSwapY(x), b), madd(e.s3, quadSwapDiagonal(x), b),
      madd(e.s4, y, b), madd(e.s5, quadSwapX(y), b), madd(e.s6, quadSwapY(y), b), madd(e.s7, quadSwapDiagonal(y), b));
  }
  return Eight(
    madd(e.s0, subgroupBroadcast(x, 0u), b), madd(e.s1, subgroupBroadcast(x, 1u), b),
    madd(e.s2, subgroupBroadcast(x, 2u), b), madd(e.s3, subgroupBroadcast(x, 3u), b),
    madd(e.s4, subgroupBroadcast(x, FIFTH), b), madd(e.s5, subgroupBroadcast(x, FIFTH + 1u), b),
    madd(e.s6, subgroupBroadcast(x, FIFTH + 2u), b), madd(e.s7, subgroupBroadcast(x, FIFTH + 3u), b));
}

// The sums of rows 0 … 7 in order, from those that `maddEight` has left.
fn settle(e: Eight, lane: u32) -> Eight {
  if (SG != 4u) { return e; }
  let odd = lane % 2u == 1u;
  let high = lane >= 2u;
  let o = Eight(
    select(e.s0, e.s1, odd), select(e.s1, e.s0, odd), select(e.s2, e.s3, odd), select(e.s3, e.s2, odd),
    select(e.s4, e.s5, odd), select(e.s5, e.s4, odd), select(e.s6, e.s7, odd), select(e.s7, e.s6, odd));
  return Eight(
    select(o.s0, o.s2, high), select(o.s1, o.s3, high), select(o.s2, o.s0, high), select(o.s3, o.s1, high),
    select(o.s4, o.s6, high), select(o.s5, o.s7, high), select(o.s6, o.s4, high), select(o.s7, o.s5, high));
}
