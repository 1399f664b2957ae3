// out[b, i, r, :] = Σⱼ w(j)·in[b, j, r, :] / Σⱼ w(j), one axis of a resampling whose filter widens with the reduction:
// w(j) = f((j − centre + ½) / max(1, N / length)), centre = (i + ½)·N / length, over the input pixels within f's
// support. f is Keys's cubic with a = −½ (support 2; Keys 1981, https://doi.org/10.1109/TASSP.1981.1163711) or the
// triangle (support 1), as PyTorch's `bicubic` and `bilinear` with `antialias` have them.
//
// input [B, N, R4], out [B, length, R4]: R4 vec4 follow each other behind every place on the axis. An invocation
// computes one vec4, in f32. The centre is kept as a whole and a fraction, so that places far out are as exact as near
// ones.
//@use storage
const WG = 64u;
const CUBIC = true;

struct Params {
  B: u32,          // batch, and whatever lies before the axis
  N: u32,          // places of input on the axis
  length: u32,     // places of out on it
  R4: u32,         // vec4 per place
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;           // [B, N, R4]
@group(0) @binding(1) var<storage, read_write> out: array<Elem4>;       // [B, length, R4]
@group(0) @binding(2) var<uniform> p: Params;

fn weight(distance: f32) -> f32 {
  let x = abs(distance);
  if (!CUBIC) { return max(0.0, 1.0 - x); }
  if (x < 1.0) { return (1.5 * x - 2.5) * x * x + 1.0; }
  if (x < 2.0) { return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0; }
  return 0.0;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.length * p.R4) { return; }
  let r = i % p.R4;
  let at = i / p.R4;
  let b = at / p.length;
  // centre = whole + fraction, from (2·place + 1)·N / (2·length).
  let numerator = (2u * (at % p.length) + 1u) * p.N;
  let whole = i32(numerator / (2u * p.length));
  let fraction = f32(numerator % (2u * p.length)) / f32(2u * p.length);
  let scale = max(1.0, f32(p.N) / f32(p.length));
  let support = select(1.0, 2.0, CUBIC) * scale;
  let first = max(whole + i32(floor(fraction - support + 0.5)), 0);
  let end = min(whole + i32(floor(fraction + support + 0.5)), i32(p.N));
  var sum = vec4f(0.0);
  var total = 0.0;
  for (var j = first; j < end; j++) {
    let w = weight((f32(j - whole) - fraction + 0.5) / scale);
    sum += w * load4(input[(b * p.N + u32(j)) * p.R4 + r]);
    total += w;
  }
  out[i] = store4(sum / total);
}
