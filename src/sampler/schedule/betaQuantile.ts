/** Quantiles of the beta distribution, for schedules. */

/** Terms of the series below; at x = ½ each is less than half the one before. */
const TERMS = 64;

/** ∫₀ˣ t^(a−1)·(1−t)^(b−1) dt for x ≤ ½: (1−t)^(b−1) as its binomial series, term by term. */
function incomplete(x: number, a: number, b: number): number {
  let [sum, power] = [0, 1];
  for (let n = 0; n < TERMS; n++) {
    sum += power / (a + n);
    power *= (x * (n + 1 - b)) / (n + 1);
  }
  return x ** a * sum;
}

/** P(X ≤ x) for X ~ Beta(a, b), x in [0, 1]. */
function cumulative(x: number, a: number, b: number): number {
  const below = incomplete(Math.min(x, 0.5), a, b);
  const half = incomplete(0.5, a, b);
  const otherHalf = incomplete(0.5, b, a);
  const mass = x <= 0.5 ? below : half + otherHalf - incomplete(1 - x, b, a);
  return mass / (half + otherHalf);
}

/** The x in [0, 1] with P(X ≤ x) = p for X ~ Beta(a, b), a and b > 0; by bisection to the last bit. */
export function betaQuantile(p: number, a: number, b: number): number {
  if (p <= 0) return 0;
  if (p >= 1) return 1;
  let [lo, hi] = [0, 1];
  for (let i = 0; i < 60; i++) {
    const mid = (lo + hi) / 2;
    if (cumulative(mid, a, b) < p) lo = mid;
    else hi = mid;
  }
  return (lo + hi) / 2;
}
