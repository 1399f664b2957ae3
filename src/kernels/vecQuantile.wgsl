// out[b] = the quantile of |x| over item b: order statistics `rank` and rank + 1, joined linearly.
//
// input [batch, item] f32, strided; out [batch]. One workgroup per item. The bits of non-negative floats are ordered as
// the floats are, so the statistic is found digit by digit: four passes, each a histogram of one byte among those
// elements whose higher bytes agree (radix select), and a fifth for its successor. Nothing is sorted and nothing leaves
// the GPU.
const WG = 256u;

struct Params {
  batch: u32,
  item: u32,       // elements per item
  offset: u32,     // elements
  stride: u32,     // elements
  rank: u32,       // of the lower order statistic, from 0
  fraction: f32,   // how far towards the next one
}

@group(0) @binding(0) var<storage, read> input: array<f32>;             // strided
@group(0) @binding(1) var<storage, read_write> out: array<f32>;         // [batch]
@group(0) @binding(2) var<uniform> p: Params;

var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> found: vec2<u32>;                                        // bits so far, rank among those that share them
var<workgroup> next: atomic<u32>;                                       // smallest bits above
var<workgroup> below: atomic<u32>;                                      // elements not above

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let start = p.offset + group.x * p.stride;
  if (lane == 0u) {
    found = vec2<u32>(0u, p.rank);
    atomicStore(&next, 0xffffffffu);
    atomicStore(&below, 0u);
  }
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var i = lane; i < 256u; i += WG) { atomicStore(&histogram[i], 0u); }
    let prefix = workgroupUniformLoad(&found);
    for (var e = lane; e < p.item; e += WG) {
      let bits = bitcast<u32>(input[start + e]) & 0x7fffffffu;
      // Two shifts, since one of 32 would be a shift by nothing.
      if ((bits >> shift) >> 8u == (prefix.x >> shift) >> 8u) { atomicAdd(&histogram[(bits >> shift) & 255u], 1u); }
    }
    workgroupBarrier();
    if (lane == 0u) {
      var rank = prefix.y;
      var byte = 0u;
      for (; byte < 255u; byte++) {
        let count = atomicLoad(&histogram[byte]);
        if (rank < count) { break; }
        rank -= count;
      }
      found = vec2<u32>(prefix.x | (byte << shift), rank);
    }
    workgroupBarrier();
  }
  let low = workgroupUniformLoad(&found).x;
  var smallest = 0xffffffffu;
  var count = 0u;
  for (var e = lane; e < p.item; e += WG) {
    let bits = bitcast<u32>(input[start + e]) & 0x7fffffffu;
    if (bits > low) { smallest = min(smallest, bits); } else { count++; }
  }
  atomicMin(&next, smallest);
  atomicAdd(&below, count);
  workgroupBarrier();
  if (lane == 0u) {
    let a = bitcast<f32>(low);
    var b = a;
    if (atomicLoad(&below) == p.rank + 1u && p.rank + 1u < p.item) { b = bitcast<f32>(atomicLoad(&next)); }
    out[group.x] = fma(p.fraction, b - a, a);
  }
}
