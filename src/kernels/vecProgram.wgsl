// A straight-line program, elementwise: all that a sampler does to its state between two calls of the network
// (guidance, solver, clipping, scaling of the next input), in one pass over memory.
//
// Vectors have `batch` items, vec4 by vec4; item b of an input starts at vec4 offset + b · stride, so a half of the
// channels is a vector too. Results are dense and lie one after the other in out. An invocation computes one vec4 of
// each in f32: s holds what was loaded and what was computed, in order; v is a sum in the making. The tape is uniform,
// so one pipeline serves every program, and a value has the same bits whichever others are computed beside it. An
// instruction is (op, x, y, z):
//   0 push t_x[y + b · z]            1 push t_x[b], one number per item     2 push v; store it at out[y] if x is 1
//   3 v = x                          4 v += x · s[y]                        5 v = clamp(v, x, y)
//   6 v = s[x] · exp(v)              7 v = s[x] · √v                        8 v = s[y] · v + (1 − s[y]) · s[x]
//   9 v = s[x] · v                  10 v = clamp(v, −c, c) / c, c = min(max(s[x], 1), y)
//  11 v = v / (y + z · m)           12 v = v / max(y, z · m), m = max(|s[x mod SLOTS]|, |s[x div SLOTS]|)
//@use exponential
const WG = 64u;
const SLOTS = 16u;   // values in s
const TAPE = 96u;    // instructions

struct Params {
  n4: u32,       // vec4 in each result
  item4: u32,    // vec4 per item; n4 where all inputs are dense
  item: u32,     // elements per item
  batch: u32,
  count: u32,    // instructions
}

@group(0) @binding(0) var<storage, read> t0: array<vec4<f32>>;          // [batch, item4], strided; or [batch] numbers
@group(0) @binding(1) var<storage, read> t1: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> t2: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> t3: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> t4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> t5: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> t6: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4<f32>>;   // [results, batch, item4]
@group(0) @binding(8) var<uniform> p: Params;
@group(0) @binding(9) var<uniform> tape: array<vec4<u32>, TAPE>;        // [count]

fn load(buffer: u32, at: u32) -> vec4<f32> {
  switch buffer {
    case 0u: { return t0[at]; }
    case 1u: { return t1[at]; }
    case 2u: { return t2[at]; }
    case 3u: { return t3[at]; }
    case 4u: { return t4[at]; }
    case 5u: { return t5[at]; }
    default: { return t6[at]; }
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.n4) { return; }
  let b = i / p.item4;
  let at = i % p.item4;
  var s: array<vec4<f32>, SLOTS>;
  var top = 0u;
  var v = vec4<f32>();
  for (var k = 0u; k < p.count; k++) {
    let e = tape[k];
    let f = bitcast<vec4<f32>>(e);
    switch e.x {
      case 0u: {
        s[top] = load(e.y, e.z + b * e.w + at);
        top++;
      }
      case 1u: { // an item may begin inside a vec4
        for (var j = 0u; j < 4u; j++) {
          let one = min((4u * i + j) / p.item, p.batch - 1u);
          s[top][j] = load(e.y, one / 4u)[one % 4u];
        }
        top++;
      }
      case 2u: {
        s[top] = v;
        top++;
        if (e.y == 1u) { out[e.z + i] = v; }
      }
      case 3u: { v = vec4<f32>(f.y); }
      case 4u: { v = fma(vec4<f32>(f.y), s[e.z], v); }
      case 5u: { v = clamp(v, vec4<f32>(f.y), vec4<f32>(f.z)); }
      case 6u: { v = s[e.y] * exponential(v); }
      case 7u: { v = s[e.y] * sqrt(v); }
      case 8u: { v = fma(s[e.z], v, (1.0 - s[e.z]) * s[e.y]); }
      case 9u: { v *= s[e.y]; }
      case 10u: {
        let c = min(max(s[e.y], vec4<f32>(1.0)), vec4<f32>(f.z));
        v = clamp(v, -c, c) / c;
      }
      default: {
        let m = f.w * max(abs(s[e.y % SLOTS]), abs(s[e.y / SLOTS]));
        v /= select(max(vec4<f32>(f.z), m), f.z + m, e.x == 11u);
      }
    }
  }
}
