// mean[b, k, c] and M2[b, k, c] = Σ (in − mean)² of each channel over chunk k of a batch item's pixels.
//
// input [B, P, A4]; chunks of p.rows consecutive pixels (the last may be shorter); stats [B, K, 2, C4], of which
// input's channels fill A4 vec4 from p.at on. HAS_SECOND: second [B, P, C4 − A4] holds the channels behind them.
// An invocation takes one vec4 of channels of one chunk and reads it once, PIXELS at a time: two-pass within those,
// joined to what came before as Chan, Golub and LeVeque 1983 do. All of it is relative to the chunk's first pixel, so
// that a mean far above the deviation costs no precision. f32.
// PIXELS = 1 is Welford's way: best where invocations run one after another and every load in the text takes long to
// compile.
//@use storage
const WG = 64u;
const PIXELS = 4u;
const HAS_SECOND = false;

struct Params {
  B: u32,      // batch
  P: u32,      // pixels per batch item
  C4: u32,     // vec4 per pixel, of both tensors
  A4: u32,     // vec4 per pixel of input
  at: u32,     // vec4 in front of them
  K: u32,      // chunks per batch item
  rows: u32,   // pixels per chunk
}

@group(0) @binding(0) var<storage, read> input: array<Elem4>;               // [B, P, A4]
@group(0) @binding(1) var<storage, read> second: array<Elem4>;              // [B, P, C4 − A4]
@group(0) @binding(2) var<storage, read_write> stats: array<vec4<f32>>;     // [B, K, 2, C4]: mean, then M2
@group(0) @binding(3) var<uniform> p: Params;

fn valueAt(row: u32, c4: u32) -> vec4<f32> {
  if (HAS_SECOND && c4 >= p.A4) { return load4(second[row * (p.C4 - p.A4) + c4 - p.A4]); }
  return load4(input[row * p.A4 + c4]);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  var width = p.A4;
  if (HAS_SECOND) { width = p.C4; }
  if (i >= p.B * p.K * width) { return; }
  let c4 = i % width;
  let chunk = i / width;
  let first = (chunk % p.K) * p.rows;
  let end = min(first + p.rows, p.P);
  let start = (chunk / p.K) * p.P;
  let origin = valueAt(start + first, c4);
  var n = 0.0;
  var mean = vec4<f32>(0.0);
  var m2 = vec4<f32>(0.0);
  var row = first;
  loop {
    var d: array<vec4<f32>, PIXELS>;
    var sum = vec4<f32>(0.0);
    for (var j = 0u; j < PIXELS; j++) {
      let v = valueAt(start + min(row + j, end - 1u), c4) - origin;
      d[j] = v;
      sum += select(vec4<f32>(0.0), v, row + j < end);
    }
    let count = f32(min(end - row, PIXELS));
    let local = sum / count;
    var spread = vec4<f32>(0.0);
    for (var j = 0u; j < PIXELS; j++) {
      let e = select(vec4<f32>(0.0), d[j] - local, row + j < end);
      spread = fma(e, e, spread);
    }
    let delta = local - mean;
    let share = count / (n + count);
    mean = fma(delta, vec4<f32>(share), mean);
    m2 += spread + delta * delta * (n * share);
    n += count;
    continuing { row += PIXELS; break if row >= end; }
  }
  let to = chunk * 2u * p.C4 + p.at + c4;
  stats[to] = origin + mean;
  stats[to + p.C4] = m2;
}
