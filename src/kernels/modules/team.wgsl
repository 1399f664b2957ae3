// Sums over teams of LANES neighbouring invocations. The kernel declares WG, the size of its workgroup, and LANES,
// which divides it.
var<workgroup> sums: array<f32, WG>;

// The sum over the invocations of a team. All invocations of the workgroup must call it, since it holds barriers.
fn teamSum(value: f32, lane: u32) -> f32 {
  if (LANES == 1u) { return value; }
  workgroupBarrier();
  sums[lane] = value;
  for (var reach = LANES / 2u; reach > 0u; reach /= 2u) {
    workgroupBarrier();
    if (lane % LANES < reach) { sums[lane] += sums[lane + reach]; }
  }
  workgroupBarrier();
  return sums[lane - lane % LANES];
}
