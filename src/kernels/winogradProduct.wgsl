// m[q, t, o] = Σᵢ v[q, t, i] · w[q, i, o]: for each of the Q places in a tile a matrix product of transformed input and
// weight.
//
// v [Q, tiles, I4] f32, w [Q, I4, O4] in strips of 4×4 blocks (`packWinograd`), m [Q, tiles, O4] f32. An invocation
// computes ROWS consecutive tiles × one vec4 of output channels of one place in registers; a workgroup covers WG_O vec4
// × WG_T·ROWS tiles. No workgroup memory. Accumulation in f32. Lavin & Gray 2015, section 4.3.
//@use storage
const ROWS = 4u;
const WG_O = 8u;
const WG_T = 8u;
const STRIP = 8u;    // vec4 of output channels whose weights stand together; as packed

struct Params {
  tiles: u32,
  I4: u32,       // vec4 per tile of v
  O4: u32,       // vec4 per tile of m
  places: u32,   // Q
}

@group(0) @binding(0) var<storage, read> v: array<vec4<f32>>;           // [Q, tiles, I4]
@group(0) @binding(1) var<storage, read> w: array<Elem4>;               // [Q, O4 / STRIP, I4, STRIP, 4]: 4 i of 4 o
@group(0) @binding(2) var<storage, read_write> m: array<vec4<f32>>;     // [Q, tiles, O4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG_O, WG_T)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let o4 = gid.x;
  let t0 = gid.y * ROWS;
  if (o4 >= p.O4 || t0 >= p.tiles) { return; }
  var base: array<u32, ROWS>;
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    base[r] = (gid.z * p.tiles + min(t0 + r, p.tiles - 1u)) * p.I4;
    acc[r] = vec4<f32>(0.0);
  }
  let strip = o4 / STRIP * STRIP;
  let step = min(STRIP, p.O4 - strip) * 4u;
  var at = (gid.z * p.O4 + strip) * p.I4 * 4u + (o4 - strip) * 4u;
  for (var i4 = 0u; i4 < p.I4; i4++) {
    let w0 = load4(w[at]);
    let w1 = load4(w[at + 1u]);
    let w2 = load4(w[at + 2u]);
    let w3 = load4(w[at + 3u]);
    at += step;
    for (var r = 0u; r < ROWS; r++) {
      let x = v[base[r] + i4];
      acc[r] = fma(vec4<f32>(x.x), w0, acc[r]);
      acc[r] = fma(vec4<f32>(x.y), w1, acc[r]);
      acc[r] = fma(vec4<f32>(x.z), w2, acc[r]);
      acc[r] = fma(vec4<f32>(x.w), w3, acc[r]);
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    if (t0 + r >= p.tiles) { return; }
    m[(gid.z * p.tiles + t0 + r) * p.O4 + o4] = acc[r];
  }
}
