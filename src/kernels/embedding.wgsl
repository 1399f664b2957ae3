// out[n, :] = table[ids[n], :], for the ids that lie in this part of the table.
//
// ids [N] u32, table rows start … end of a table of V rows, [end − start, D4], out [N, D4]. An invocation copies one
// vec4; one dispatch per part, each writing the rows of its own ids, so that all parts together write every row once.
// An id beyond the table counts as its last row.
//@use storage
const WG = 64u;

struct Params {
  N: u32,        // ids
  D4: u32,       // vec4 per row
  V: u32,        // rows of the whole table
  start: u32,    // first row of this part
  end: u32,      // first row after it
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;               // [N]
@group(0) @binding(1) var<storage, read> table: array<Elem4>;           // [end − start, D4]
@group(0) @binding(2) var<storage, read_write> out: array<Elem4>;       // [N, D4]
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * groups.x) * WG + lane;
  if (i >= p.N * p.D4) { return; }
  let id = min(ids[i / p.D4], p.V - 1u);
  if (id < p.start || id >= p.end) { return; }
  out[i] = table[(id - p.start) * p.D4 + i % p.D4];
}
