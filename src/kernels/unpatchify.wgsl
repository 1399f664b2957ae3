// out[b, c, y, x] = tokens[b, y/p, x/p, channel of (c, y mod p, x mod p)]: patches back into a dense picture.
//
// tokens [B, rows, columns, N4], out [B, C, rows·p, columns·p] dense f32. A token's channel is row·rowStride +
// column·columnStride + c·channelStride of the position within its patch. An invocation writes one element.
//@use storage
const WG = 64u;

struct Params {
  count: u32,             // elements of out
  C: u32,                 // channels of out
  H: u32,                 // height of out
  W: u32,                 // width of out
  side: u32,              // of a patch
  N4: u32,                // vec4 per token
  rowStride: u32,         // channels of a token from one row of its patch to the next
  columnStride: u32,      // from one column to the next
  channelStride: u32,     // from one channel of out to the next
}

@group(0) @binding(0) var<storage, read> tokens: array<Elem4>;          // [B, rows, columns, N4]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;         // [B, C, H, W]
@group(0) @binding(2) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.count) { return; }
  let x = i % p.W;
  let y = (i / p.W) % p.H;
  let c = (i / (p.W * p.H)) % p.C;
  let b = i / (p.W * p.H * p.C);
  let token = (b * (p.H / p.side) + y / p.side) * (p.W / p.side) + x / p.side;
  let channel = (y % p.side) * p.rowStride + (x % p.side) * p.columnStride + c * p.channelStride;
  out[i] = load4(tokens[token * p.N4 + channel / 4u])[channel % 4u];
}
