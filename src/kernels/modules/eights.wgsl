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
