// out[b, i] ~ N(0, 1) by number: Philox4x32-10 of the counter (i / 4, 0, draw, stream) under item b's key, then
// Box–Muller. Salmon et al. 2011 (Parallel Random Numbers: As Easy as 1, 2, 3), section 3.3.
//
// out [batch, item] f32; an invocation makes four elements of one item. No state: a draw is the same in any order, grid
// and batch. The upper 23 bits of a word count, at the middle of their interval, (2k + 1)·2⁻²⁴: exact in f32, as is the
// distance from 1. Drivers' log, sin and cos may be off by 2·10⁻⁴, so they are polynomials here (fdlibm's and Cephes's
// reductions).
const WG = 64u;

struct Params {
  batch: u32,
  item: u32,     // elements per item
  draw: u32,
  stream: u32,
}

@group(0) @binding(0) var<storage, read> keys: array<vec2<u32>>;        // [batch], low word first
@group(0) @binding(1) var<storage, read_write> out: array<f32>;         // [batch, item]
@group(0) @binding(2) var<uniform> p: Params;

// The 64 bits of a · b, low word first, by halves of 16 bits.
fn mul64(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2<u32>(a * b, (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u));
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    let a = mul64(0xd2511f53u, c.x);
    let b = mul64(0xcd9e8d57u, c.z);
    c = vec4<u32>(b.y ^ c.y ^ key.x, b.x, a.y ^ c.w ^ key.y, a.x);
    key += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

// (2k + 1) · 2⁻²⁴ of the upper 23 bits.
fn uniform01(word: vec2<u32>) -> vec2<f32> {
  return vec2<f32>(2u * (word >> vec2<u32>(9u)) + 1u) * 5.9604644775390625e-8;
}

// log u for normal u: u = 2ᵉ · (1 + f) with 1 + f in [√½, √2), log(1 + f) by s = f / (2 + f).
fn logOf(u: f32) -> f32 {
  let bits = bitcast<u32>(u);
  var e = f32(i32(bits >> 23u) - 127);
  var m = bitcast<f32>((bits & 0x7fffffu) | 0x3f800000u);
  if (m > 1.41421356) {
    m *= 0.5;
    e += 1.0;
  }
  let f = m - 1.0;
  let s = f / (2.0 + f);
  let z = s * s;
  let rest = z * (0.66666667 + z * (0.4 + z * (0.28571429 + z * 0.22222222)));
  let half = 0.5 * f * f;
  return e * 0.693359375 + (f - (half - s * (half + rest)) - e * 2.12194440e-4);
}

// (cos, sin) of 2π · turns, turns in (0, 1): a quarter turn and an angle within ±π/4.
fn turn(turns: f32) -> vec2<f32> {
  let quarter = floor(4.0 * turns + 0.5);
  let x = (turns - 0.25 * quarter) * 6.28318531;
  let z = x * x;
  let s = x + x * z * (-0.16666654611 + z * (8.3321608736e-3 - z * 1.9515295891e-4));
  let c = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
  switch (u32(quarter) & 3u) {
    case 0u: { return vec2<f32>(c, s); }
    case 1u: { return vec2<f32>(-s, c); }
    case 2u: { return vec2<f32>(-c, -s); }
    default: { return vec2<f32>(s, -c); }
  }
}

fn normals(words: vec2<u32>) -> vec2<f32> {
  let u = uniform01(words);
  let square = -2.0 * logOf(u.x);
  let guess = sqrt(square);
  return 0.5 * (guess + square / guess) * turn(u.y);   // a Newton step, should the driver's root be short of digits
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let g = (group.x + group.y * groups.x) * WG + lane;
  let fours = (p.item + 3u) / 4u;
  if (g >= p.batch * fours) { return; }
  let b = g / fours;
  let words = philox(vec4<u32>(g % fours, 0u, p.draw, p.stream), keys[b]);
  let z = vec4<f32>(normals(words.xy), normals(words.zw));
  let first = 4u * (g % fours);
  for (var k = 0u; k < min(4u, p.item - first); k++) { out[b * p.item + first + k] = z[k]; }
}
