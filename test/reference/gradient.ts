/** Gradients of naive f64 functions by central differences: the truth that hand-derived ones are held against. */

/** Third order terms of functions of size 1 are 10⁻¹² of this squared, rounding 10⁻¹⁶ over it: both are below 10⁻¹⁰. */
const STEP = 1e-5;

/** ∂/∂x of Σ g·f(x), each element of x moved by itself. */
export function numericGradient(
  f: (x: Float64Array) => ArrayLike<number>,
  x: ArrayLike<number>,
  g: ArrayLike<number>,
): Float64Array {
  const at = Float64Array.from(x);
  const along = (): number => {
    const y = f(at);
    let sum = 0;
    for (let i = 0; i < y.length; i++) sum += g[i] * y[i];
    return sum;
  };
  return at.map((value, i) => {
    const h = STEP * Math.max(1, Math.abs(value));
    at[i] = value + h;
    const above = along();
    at[i] = value - h;
    const below = along();
    at[i] = value;
    return (above - below) / (2 * h);
  });
}
