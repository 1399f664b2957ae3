// Storage of four consecutive channels as f16; arithmetic stays f32. Overflow becomes infinite, which the finite check
// names.
enable f16;
alias Elem4 = vec4<f16>;
fn load4(e: Elem4) -> vec4<f32> { return vec4<f32>(e); }
fn store4(v: vec4<f32>) -> Elem4 { return vec4<f16>(v); }
