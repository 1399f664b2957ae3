/** Quantiles of the beta distribution, for schedules. */

/** Nodes of the rule that integrates the density; after the substitution below it is smooth, so few suffice. */
const NODES = 400;

/**
 * ∫₀ˣ t^(a−1)·(1−t)^(b−1) dt for x ≤ ½: with t = uˑx, u = w^(1/a), the singular end becomes flat; Simpson's rule.
 */
function incomplete(x: number, a: number, b: number): number {
  const f = (w: number): number => (1 - x * w ** (1 / a)) ** (b - 1);
  let sum = f(0) + f(1);
  for (let i = 1; i < NODES; i++) sum += (i % 2 === 1 ? 4 : 2) * f(i / NODES);
  return (x ** a / a) * (sum / (3 * NODES));
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
