// One step of an LSTM: c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'), from gates that hold i, f, g, o in this order.
// Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000.
//
// gates [B, ⌈4H/4⌉], state, out [B, S4]: h, then c, 2H elements. An invocation makes one vec4 of out, lane by lane,
// since H need not be a multiple of four. f32.
//@use storage activation
const WG = 64u;

struct Params {
  B: u32,     // batch
  H: u32,     // hidden units, and vec4 per row of gates
  S4: u32,    // vec4 per row of state: ⌈2H/4⌉
}

@group(0) @binding(0) var<storage, read> gates: array<Elem4>;               // [B, H]
@group(0) @binding(1) var<storage, read> state: array<Elem4>;               // [B, S4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;           // [B, S4]
@group(0) @binding(3) var<uniform> p: Params;

fn gate(b: u32, e: u32) -> f32 {
  return load4(gates[b * p.H + e / 4u])[e % 4u];
}

fn cell(b: u32, unit: u32) -> f32 {
  let e = p.H + unit;
  return load4(state[b * p.S4 + e / 4u])[e % 4u];
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.B * p.S4) { return; }
  let b = i / p.S4;
  var v = vec4<f32>(0.0);
  for (var k = 0u; k < 4u; k++) {
    let e = 4u * (i % p.S4) + k;
    if (e >= 2u * p.H) { break; }
    let unit = e % p.H;
    let open = sigmoid4(vec4<f32>(gate(b, unit), gate(b, p.H + unit), 0.0, gate(b, 3u * p.H + unit)));
    let next = open.y * cell(b, unit) + open.x * tanh4(vec4<f32>(gate(b, 2u * p.H + unit))).x;
    v[k] = select(next, open.w * tanh4(vec4<f32>(next)).x, e < p.H);
  }
  out[i] = store4(v);
}
