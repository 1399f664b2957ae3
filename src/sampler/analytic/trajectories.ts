/** Which of N discrete steps, 1 … N, a short run visits; rising. Bao et al. 2022 (Analytic-DPM), section 4. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { roundHalfEven } from '../schedule/timesteps.ts';

function checkCount(who: string, n: number, count: number): void {
  if (Number.isInteger(n) && Number.isInteger(count) && count >= 2 && count <= n) return;
  throw new InvalidArgumentError(`${who}: expected 2 … ${n} steps of ${n}, got ${count}; take fewer steps`);
}

/** Evenly from 1 to n. @throws InvalidArgumentError unless 2 ≤ count ≤ n */
export function linearTrajectory(n: number, count: number): number[] {
  checkCount('linearTrajectory', n, count);
  let at = 1;
  return Array.from({ length: count }, () => {
    const step = roundHalfEven(at);
    at += (n - 1) / (count - 1);
    return step;
  });
}

/** 1 + (n − 1)·(1 − (1 − u)^(1/power)) for u from 0 to 1: denser near noise; doubles move up. @throws as linear */
export function powerTrajectory(n: number, count: number, power: number): number[] {
  checkCount('powerTrajectory', n, count);
  let last = -Infinity;
  return Array.from({ length: count }, (_, k) => {
    const y = (count - 1 - k) / (count - 1);
    const step = roundHalfEven((n - 1) * (1 - y ** (1 / power)) + 1);
    return (last = step <= last ? last + 1 : step);
  });
}

/** DDIM's quadratic spacing, up to 0.8·n. Song, Meng & Ermon 2021, appendix D.2. @throws as linear */
export function quadraticTrajectory(n: number, count: number): number[] {
  checkCount('quadraticTrajectory', n, count);
  const root = Math.sqrt(n * 0.8);
  return Array.from({ length: count }, (_, k) => Math.floor(((k / (count - 1)) * root) ** 2) + 1);
}

/** Cost of an edge of a path. */
export type EdgeCost = (from: number, to: number) => number;

/**
 * The cheapest path first = τ₀ < … < τ_K = last of `edges` edges, by dynamic programming; the earliest of equals.
 * Watson et al. 2021, https://arxiv.org/abs/2106.03802, section 3. @throws InvalidArgumentError if none fits
 */
export function cheapestPath(
  first: number,
  last: number,
  edges: number,
  cost: EdgeCost,
): { path: number[]; cost: number } {
  if (!Number.isInteger(edges) || edges < 1 || edges > last - first)
    throw new InvalidArgumentError(`cheapestPath: expected 1 … ${last - first} edges, got ${edges}; take fewer steps`);
  const size = last - first + 1;
  let best = Array.from({ length: size }, (_, i) => (i === 0 ? 0 : Infinity));
  const back: number[][] = [];
  for (let k = 0; k < edges; k++) {
    const next = Array<number>(size).fill(Infinity);
    const from = Array<number>(size).fill(-1);
    for (let s = 0; s < size; s++)
      for (let r = s + 1; r < size && best[s] < Infinity; r++) {
        const total = best[s] + cost(first + s, first + r);
        if (total < next[r]) [next[r], from[r]] = [total, s];
      }
    back.push(from);
    best = next;
  }
  const path = [size - 1];
  for (let k = edges - 1; k >= 0; k--) path.unshift(back[k][path[0]]);
  return { path: path.map((i) => first + i), cost: best[size - 1] };
}

/**
 * ln(1 − (1 − Π α)·Γ_r/(1 − ᾱ_r)), the part of the variational bound that step r → s decides. Bao et al. 2022,
 * theorem 3. `alphaBar[n]` with ᾱ₀ = 1, `gamma[n]` for n = 1 … N.
 */
export function analyticCost(alphaBar: ArrayLike<number>, gamma: ArrayLike<number>): EdgeCost {
  return (s, r) => Math.log(1 - ((1 - alphaBar[r] / alphaBar[s]) * gamma[r]) / (1 - alphaBar[r]));
}

/** How much the part of the run where Γ is poorly estimated weighs against its length. */
const POOR_WEIGHT = 0.8;

/**
 * The cheapest path by {@link analyticCost} from 1 to N. From the first Γ_n > 1, which no distribution has, estimates
 * are poor: twice as many steps as lie there, at the noisy end, are spaced evenly instead. @throws as cheapestPath
 */
export function analyticTrajectory(alphaBar: ArrayLike<number>, gamma: ArrayLike<number>, count: number): number[] {
  const n = alphaBar.length - 1;
  checkCount('analyticTrajectory', n, count);
  const firstPoor = Array.from(gamma).findIndex((g, i) => i > 0 && g > 1);
  const poor = firstPoor < 0 ? 0 : 2 * (n - firstPoor + 1);
  const good = n - poor;
  let tail = count - Math.min(Math.ceil((1 - (POOR_WEIGHT * poor) / n) * count), good);
  tail = Math.min(tail, poor);
  if (poor > 0 && tail === 0) tail = 1;
  const head = cheapestPath(1, good, count - tail - 1, analyticCost(alphaBar, gamma)).path;
  const even = Array.from({ length: tail }, (_, k) => roundHalfEven(n - (poor / tail) * (tail - 1 - k)));
  return [...head, ...even];
}
