// out[b, i, h, :] = Σⱼ weights[b, h, i·across + j·along] · x[b, j, h, :]: values summed by the rows (across = stride of
// a row, along = 1) or by the columns (across = 1, along = stride of a row) of a matrix of weights.
//
// weights [B, heads, …] f32, x [B, J, heads, D4], out [B, I, heads, D4]. An invocation computes ROWS consecutive i ×
// one vec4 column, in registers. Accumulation in f32.
//@use storage
const ROWS = 4u;
const WG_D = 8u;
const WG_I = 8u;

struct Params {
  B: u32,        // batch
  I: u32,        // rows of out
  J: u32,        // rows of x
  heads: u32,
  D4: u32,       // vec4 per head
  matrix: u32,   // floats of one matrix of weights
  across: u32,   // floats from one i to the next
  along: u32,    // floats from one j to the next
}

@group(0) @binding(0) var<storage, read> weights: array<f32>;           // [B, heads, matrix]
@group(0) @binding(1) var<storage, read> x: array<Elem4>;               // [B, J, heads, D4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;       // [B, I, heads, D4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG_D, WG_I)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let d = gid.x;
  let first = gid.y * ROWS;
  let b = gid.z / p.heads;
  let head = gid.z % p.heads;
  if (d >= p.D4 || first >= p.I) { return; }
  let stride = p.heads * p.D4;
  var at: array<u32, ROWS>;
  var acc: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    at[r] = gid.z * p.matrix + min(first + r, p.I - 1u) * p.across;
    acc[r] = vec4<f32>(0.0);
  }
  for (var j = 0u; j < p.J; j++) {
    let v = load4(x[(b * p.J + j) * stride + head * p.D4 + d]);
    for (var r = 0u; r < ROWS; r++) { acc[r] = fma(vec4<f32>(weights[at[r] + j * p.along]), v, acc[r]); }
  }
  for (var r = 0u; r < ROWS; r++) {
    if (first + r >= p.I) { return; }
    out[(b * p.I + first + r) * stride + head * p.D4 + d] = store4(acc[r]);
  }
}
