/** How cost grows: points of a curve, and the exponent that fits them. */
import type { BenchResult } from '../result.ts';

/** Where a case stands on a curve. */
export interface GrowthCase {
  /** What grows: `conv 3×3 over resolution`. */
  curve: string;
  /** What stands on the horizontal axis. */
  axis: string;
  x: number;
  /** Exponents that theory gives for large x: of arithmetic, and of activations. */
  theory: { time: number; memory: number };
}

/** An exponent p of y ∝ xᵖ, fitted to the logarithms by least squares. */
export interface Fit {
  exponent: number;
  /** e to the intercept: y at x = 1. */
  factor: number;
  /** How much of the variance the line explains. */
  r2: number;
}

export interface Curve {
  curve: string;
  dtype: 'f32' | 'f16';
  axis: string;
  points: { x: number; ms: number; activationBytes: number; flops: number }[];
  /** Of the upper half of the points, where what a submit costs no longer counts; null for fewer than two. */
  time: Fit | null;
  memory: Fit | null;
  /** Of the arithmetic counted over the same points: what the time would do at one rate. */
  arithmetic: Fit | null;
  theory: { time: number; memory: number };
}

/** Fits y ∝ xᵖ; null for fewer than two points, or values that are not positive. */
export function fitPower(points: readonly { x: number; y: number }[]): Fit | null {
  if (points.length < 2 || !points.every(({ x, y }) => x > 0 && y > 0 && Number.isFinite(x * y))) return null;
  const logs = points.map(({ x, y }) => ({ x: Math.log(x), y: Math.log(y) }));
  const mean = (of: 'x' | 'y') => logs.reduce((sum, p) => sum + p[of], 0) / logs.length;
  const [mx, my] = [mean('x'), mean('y')];
  const sum = (f: (p: { x: number; y: number }) => number) => logs.reduce((s, p) => s + f(p), 0);
  const sxx = sum((p) => (p.x - mx) ** 2);
  const sxy = sum((p) => (p.x - mx) * (p.y - my));
  const syy = sum((p) => (p.y - my) ** 2);
  if (sxx === 0) return null;
  const exponent = sxy / sxx;
  return { exponent, factor: Math.exp(my - exponent * mx), r2: syy === 0 ? 1 : sxy ** 2 / (sxx * syy) };
}

/** The curves among the results of a run, points in order. */
export function curvesOf(results: readonly BenchResult[]): Curve[] {
  const curves = new Map<string, BenchResult[]>();
  for (const result of results) {
    if (!result.growth) continue;
    const key = `${result.growth.curve} ${result.dtype}`;
    curves.set(key, [...(curves.get(key) ?? []), result]);
  }
  return [...curves.values()].map((members) => {
    const { curve, axis, theory } = members[0].growth!;
    const points = members
      .map((r) => ({
        x: r.growth!.x,
        ms: r.gpuMs || r.ms,
        activationBytes: r.activations?.peakBytes ?? 0,
        flops: r.gflops === null ? 0 : r.gflops * 1e6 * (r.gpuMs || r.ms),
      }))
      .sort((a, b) => a.x - b.x);
    const upper = points.slice(Math.floor((points.length - 1) / 2));
    const fit = (of: 'ms' | 'activationBytes' | 'flops') => fitPower(upper.map((p) => ({ x: p.x, y: p[of] })));
    const [time, memory, arithmetic] = [fit('ms'), fit('activationBytes'), fit('flops')];
    return { curve, dtype: members[0].dtype, axis, points, time, memory, arithmetic, theory };
  });
}
