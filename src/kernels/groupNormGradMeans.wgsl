// M1[b, c] and M2[b, c]: S1 and S2 summed over the group that channel c is in, over the number of its elements.
//
// parts [B, K, 2, C] as groupNormGradSums leaves them, means [B, 2, C]. A team of LANES invocations takes one group of
// one batch item. f32. LANES = 1 needs no barrier: best where the invocations of a workgroup run one after another.
//@use team
const WG = 64u;
const LANES = 64u;         // divides WG

struct Params {
  B: u32,      // batch
  P: u32,      // pixels per batch item
  C: u32,      // channels
  stride: u32, // floats per pixel: C rounded up to four
  K: u32,      // chunks per batch item
  G: u32,      // groups
}

@group(0) @binding(0) var<storage, read> parts: array<f32>;                  // [B, K, 2, stride]
@group(0) @binding(1) var<storage, read_write> means: array<f32>;           // [B, 2, stride]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  // Every invocation must reach the barriers, so the surplus teams repeat the last group and write nothing.
  let team = (group.x + group.y * groups.x) * (WG / LANES) + lane / LANES;
  let bg = min(team, p.B * p.G - 1u);
  let b = bg / p.G;
  let g = bg % p.G;
  let size = p.C / p.G;
  let base = b * p.K * 2u * p.stride + g * size;
  var s1 = 0.0;
  var s2 = 0.0;
  for (var i = lane % LANES; i < p.K * size; i += LANES) {
    let at = base + (i / size) * 2u * p.stride + i % size;
    s1 += parts[at];
    s2 += parts[at + p.stride];
  }
  let count = f32(p.P * size);
  let m1 = teamSum(s1, lane) / count;
  let m2 = teamSum(s2, lane) / count;
  if (team >= p.B * p.G) { return; }
  let to = b * 2u * p.stride;
  for (var i = lane % LANES; i < size; i += LANES) {
    means[to + g * size + i] = m1;
    means[to + p.stride + g * size + i] = m2;
  }
  if (g == p.G - 1u && lane % LANES == 0u) {
    for (var c = p.C; c < p.stride; c++) {
      means[to + c] = 0.0;
      means[to + p.stride + c] = 0.0;
    }
  }
}
