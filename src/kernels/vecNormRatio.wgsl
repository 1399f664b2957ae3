// out[b] = Σ over items of ‖over‖ / Σ over items of ‖under‖, for every b the same: the ratio of mean norms.
//
// over, under [batch, parts] as vecStats made them; out [batch] f32. One workgroup: a lane takes every WG-th item.
const WG = 64u;

struct Params {
  batch: u32,
  parts: u32,   // per item
}

@group(0) @binding(0) var<storage, read> over: array<vec4<f32>>;        // [batch, parts]: count, mean, Σ(x − mean)²
@group(0) @binding(1) var<storage, read> under: array<vec4<f32>>;       // [batch, parts]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;         // [batch]
@group(0) @binding(3) var<uniform> p: Params;

var<workgroup> sums: array<vec2<f32>, WG>;

fn squares(part: vec4<f32>) -> f32 { return fma(part.x * part.y, part.y, part.z); }

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = vec2<f32>();
  for (var b = lane; b < p.batch; b += WG) {
    var norms = vec2<f32>();
    for (var j = b * p.parts; j < (b + 1u) * p.parts; j++) {
      norms += vec2<f32>(squares(over[j]), squares(under[j]));
    }
    sum += sqrt(norms);
  }
  sums[lane] = sum;
  workgroupBarrier();
  var all = vec2<f32>();
  for (var j = 0u; j < WG; j++) { all += sums[j]; }
  let ratio = all.x / all.y;
  for (var b = lane; b < p.batch; b += WG) { out[b] = ratio; }
}
