// Storage of four consecutive channels as f32.
alias Elem4 = vec4<f32>;
fn load4(e: Elem4) -> vec4<f32> { return e; }
fn store4(v: vec4<f32>) -> Elem4 { return v; }
