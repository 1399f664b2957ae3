/** Statistics of a handful of times. Means are of no use here: one interruption by the system spoils them. */
import { InvalidArgumentError } from '../src/engine/errors.ts';

/**
 * The q-quantile, q in 0 … 1, with linear interpolation between order statistics (Hyndman & Fan 1996, type 7).
 * @throws InvalidArgumentError for no values, or one that is not finite
 */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0 || !values.every(Number.isFinite)) {
    throw new InvalidArgumentError(`quantile: expected finite numbers, got [${values.join(', ')}]`);
  }
  const sorted = [...values].sort((a, b) => a - b);
  const at = q * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.ceil(at);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

export const median = (values: readonly number[]) => quantile(values, 0.5);

/** Distance between the quartiles over the median; 0 where the median is 0. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  return middle === 0 ? 0 : (quantile(values, 0.75) - quantile(values, 0.25)) / middle;
}

/**
 * Where the median of the distribution behind `values` lies, whatever that distribution is: from the k-th smallest to
 * the k-th largest, for the largest k that leaves it outside with a probability 2·P(Bin(n, ½) < k) of at most
 * 1 − `confidence`. Undefined for too few values, at 95 % fewer than six. David & Nagaraja 2003, "Order Statistics",
 * section 7.1.
 */
export function medianInterval(
  values: readonly number[],
  confidence = 0.95,
): { low: number; high: number } | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const n = sorted.length;
  let k = 0;
  let equal = 0.5 ** n;
  for (let below = equal; 2 * below <= 1 - confidence && k < n / 2; below += equal) {
    k++;
    equal *= (n - k + 1) / k;
  }
  return k === 0 ? undefined : { low: sorted[k - 1], high: sorted[n - k] };
}

/** How two times compare that were taken side by side, pair by pair. */
export interface PairedRatio {
  /** Median of the pairs' ratios. */
  ratio: number;
  /** Where that median lies with 95 %, by {@link medianInterval}; null for fewer than six pairs. */
  low: number | null;
  high: number | null;
  pairs: number;
}

/** `over` by `under`, each pair measured in one turn, so that what slows the machine for a while slows both. */
export function pairedRatio(over: readonly number[], under: readonly number[]): PairedRatio {
  const ratios = over.slice(0, under.length).map((ms, i) => ms / under[i]);
  const { low, high } = medianInterval(ratios) ?? { low: null, high: null };
  return { ratio: median(ratios), low, high, pairs: ratios.length };
}

/** Geometric mean of positive numbers. @throws InvalidArgumentError for none, or one that is not positive */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0 || !values.every((v) => v > 0 && v < Infinity)) {
    throw new InvalidArgumentError(`geometricMean: expected positive numbers, got [${values.join(', ')}]`);
  }
  return Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
}
