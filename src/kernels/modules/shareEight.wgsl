// The rows of `eights` handed out in the way that costs least, and sums read one after the other. The kernel enables
// subgroups, declares SG, and names the module eights before this one.

// Adds eight rows times b, as maddEight does. Where a subgroup has eight lanes, a shuffle by a constant takes
// processors fewer instructions than a broadcast; with four or sixteen lanes the broadcast is the quicker one.
fn shareEight(e: Eight, rows: Rows, b: Block) -> Eight {
  if (SG != 8u) { return maddEight(e, rows, b); }
  let x = rows.x;
  return Eight(
    madd(e.s0, subgroupShuffle(x, 0u), b), madd(e.s1, subgroupShuffle(x, 1u), b),
    madd(e.s2, subgroupShuffle(x, 2u), b), madd(e.s3, subgroupShuffle(x, 3u), b),
    madd(e.s4, subgroupShuffle(x, 4u), b), madd(e.s5, subgroupShuffle(x, 5u), b),
    madd(e.s6, subgroupShuffle(x, 6u), b), madd(e.s7, subgroupShuffle(x, 7u), b));
}

// The sums one row further, the last from the next eight. A loop that takes s0 and then shifts is compiled once; an
// array that is indexed lies in memory, and one copy for every row takes as long to compile as all that went before.
fn shiftEight(e: Eight, last: vec4<f32>) -> Eight {
  return Eight(e.s1, e.s2, e.s3, e.s4, e.s5, e.s6, e.s7, last);
}
