// Products of eight rows by a 4×4 block of a matrix, the rows shared within a subgroup. The kernel enables subgroups and
// declares SG, their width, 4, 8 or 16. Sums have names, since an array of them would lie in memory on drivers that do not unroll.

// Sums of eight rows × one vec4 column.
struct Eight {
  s0: vec4<f32>, s1: vec4<f32>, s2: vec4<f32>, s3: vec4<f32>, s4: vec4<f32>, s5: vec4<f32>, s6: vec4<f32>, s7: vec4<f32>
}

// Four rows of four columns.
struct Block { w0: vec4<f32>, w1: vec4<f32>, w2: vec4<f32>, w3: vec4<f32> }

// Rows 4 … 7 are held by lanes 4 … 7 of the one load where a subgroup has that many, by lanes 0 … 3 of a second one otherwise.
const FIFTH = 4u % SG;

fn eightTimes(v: vec4<f32>) -> Eight { return Eight(v, v, v, v, v, v, v, v); }

// Sums of all rows of a subgroup. What becomes of them belongs in one loop over the rows that are there, of unknown length and
// with its test at the end: copies for every row would take longer to compile than all before, and a test at the start costs
// a round more on drivers whose lanes run in step.
alias Sums = array<vec4<f32>, 8u * EIGHTS>;

fn toSums(a: Eight, b: Eight, c: Eight, d: Eight) -> Sums {
  var all: Sums;
  let parts = array<Eight, 4>(a, b, c, d);
  for (var i = 0u; i < EIGHTS; i++) {
    all[8u * i] = parts[i].s0;
    all[8u * i + 1u] = parts[i].s1;
    all[8u * i + 2u] = parts[i].s2;
    all[8u * i + 3u] = parts[i].s3;
    all[8u * i + 4u] = parts[i].s4;
    all[8u * i + 5u] = parts[i].s5;
    all[8u * i + 6u] = parts[i].s6;
    all[8u * i + 7u] = parts[i].s7;
  }
  return all;
}

fn toArray(e: Eight) -> array<vec4<f32>, 8> {
  return array<vec4<f32>, 8>(e.s0, e.s1, e.s2, e.s3, e.s4, e.s5, e.s6, e.s7);
}

// sum + x · b
fn madd(sum: vec4<f32>, x: vec4<f32>, b: Block) -> vec4<f32> {
  return sum + x.x * b.w0 + x.y * b.w1 + x.z * b.w2 + x.w * b.w3;
}

// Adds eight rows times b; lane i holds row i in x, and row 4 + i in y, which is only looked at where a subgroup has four.
fn maddEight(e: Eight, x: vec4<f32>, y: vec4<f32>, b: Block) -> Eight {
  var z = x;
  if (SG == 4u) { z = y; }
  return Eight(
    madd(e.s0, subgroupBroadcast(x, 0u), b), madd(e.s1, subgroupBroadcast(x, 1u), b),
    madd(e.s2, subgroupBroadcast(x, 2u), b), madd(e.s3, subgroupBroadcast(x, 3u), b),
    madd(e.s4, subgroupBroadcast(z, FIFTH), b), madd(e.s5, subgroupBroadcast(z, FIFTH + 1u), b),
    madd(e.s6, subgroupBroadcast(z, FIFTH + 2u), b), madd(e.s7, subgroupBroadcast(z, FIFTH + 3u), b));
}
