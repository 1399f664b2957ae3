// Activations on four channels, chosen by number so that one const selects one at compile time.
// exp of a large argument overflows and tanh of one is NaN on some drivers: both are clamped where they saturate
// anyway; that of a very negative one is 0 on all.
const ACT_NONE = 0u;
const ACT_SILU = 1u;
const ACT_GELU = 2u;
const ACT_GELU_TANH = 3u;
const ACT_QUICK_GELU = 4u;
const ACT_RELU = 5u;
const ACT_TANH = 6u;
const ACT_SIGMOID = 7u;
const ACT_MISH = 8u;
const ACT_ELU = 9u;
const ACT_LEAKY_RELU = 10u;

fn sigmoid4(x: vec4<f32>) -> vec4<f32> {
  return 1.0 / (1.0 + exp(-max(x, vec4<f32>(-80.0))));
}

fn silu4(x: vec4<f32>) -> vec4<f32> {
  return x / (1.0 + exp(-max(x, vec4<f32>(-80.0))));
}

fn tanh4(x: vec4<f32>) -> vec4<f32> {
  return tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0)));
}

// Abramowitz & Stegun 7.1.26 has an absolute error of 1.5e-7, the roundoff of f32 near 1.
fn erf4(x: vec4<f32>) -> vec4<f32> {
  let a = abs(x);
  let t = 1.0 / (1.0 + 0.3275911 * a);
  let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - p * exp(-min(a * a, vec4<f32>(80.0))));
}

// x·tanh(softplus(x)) = x·p/(p + 2) with p = e²ˣ + 2eˣ (Misra 2019). For x > 0 the fraction is expanded by e⁻²ˣ, so
// that only exp(-|x|) occurs, which cannot overflow.
fn mish4(x: vec4<f32>) -> vec4<f32> {
  let e = exp(-min(abs(x), vec4<f32>(80.0)));
  let p = select(e * (e + 2.0), 1.0 + 2.0 * e, x > vec4<f32>(0.0));
  return x * p / (p + 2.0 * select(vec4<f32>(1.0), e * e, x > vec4<f32>(0.0)));
}

// e^x - 1; near 0, where that cancels, by its series, whose rest is below 2e-7 of it.
fn expm14(x: vec4<f32>) -> vec4<f32> {
  let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
  return select(series, exp(max(x, vec4<f32>(-80.0))) - 1.0, abs(x) > vec4<f32>(0.3));
}

fn activate(x: vec4<f32>, act: u32) -> vec4<f32> {
  switch act {
    case ACT_SILU: { return silu4(x); }
    case ACT_GELU: { return 0.5 * x * (1.0 + erf4(x * 0.7071067811865476)); }
    case ACT_GELU_TANH: { return 0.5 * x * (1.0 + tanh4(0.7978845608028654 * (x + 0.044715 * x * x * x))); }
    case ACT_QUICK_GELU: { return x * sigmoid4(1.702 * x); }
    case ACT_RELU: { return max(x, vec4<f32>(0.0)); }
    case ACT_TANH: { return tanh4(x); }
    case ACT_SIGMOID: { return sigmoid4(x); }
    case ACT_MISH: { return mish4(x); }
    case ACT_ELU: { return select(expm14(min(x, vec4<f32>(0.0))), x, x > vec4<f32>(0.0)); }
    case ACT_LEAKY_RELU: { return max(x, 0.01 * x); }
    default: { return x; }
  }
}
