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

/** Geometric mean of positive numbers. @throws InvalidArgumentError for none, or one that is not positive */
export function geometricMean(values: readonly number[]): number {
  if (values.length === 0 || !values.every((v) => v > 0 && v < Infinity)) {
    throw new InvalidArgumentError(`geometricMean: expected positive numbers, got [${values.join(', ')}]`);
  }
  return Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length);
}
