// Storage of four consecutive channels as two u32 of two halves each, for adapters without shader-f16.
alias Elem4 = vec2<u32>;
fn load4(e: Elem4) -> vec4<f32> { return vec4<f32>(unpack2x16float(e.x), unpack2x16float(e.y)); }
fn store4(v: vec4<f32>) -> Elem4 { return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw)); }
