/** Results against the truth, before any time is taken. */
import { DaguerreError } from '../src/engine/index.ts';
import { compare } from '../test/support/close.ts';

/** A result that is wrong: its time is of no interest. */
export class MismatchError extends DaguerreError {}

/**
 * The largest |got − want| as a fraction of its tolerance.
 * @throws MismatchError with a small table of differences when it is above 1, or a value is NaN
 */
export function verifyClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: ArrayLike<number>,
  what: string,
): number {
  const { ok, message } = compare(got, want, tolerance, what);
  if (!ok) throw new MismatchError(`bench: wrong result; ${message}`);
  return errorOf(got, want, tolerance);
}

/** The largest |got − want| as a fraction of its tolerance; infinite where a value is NaN or missing. */
export function errorOf(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: ArrayLike<number>): number {
  if (got.length !== want.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i] - want[i]) / tolerance[i];
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }
  return worst;
}

/** ‖got − want‖ / ‖want‖; infinite where values are missing or not finite. */
export function relativeNorm(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Infinity;
  let difference = 0;
  let size = 0;
  for (let i = 0; i < want.length; i++) {
    difference += (got[i] - want[i]) ** 2;
    size += want[i] ** 2;
  }
  const relative = Math.sqrt(difference / size);
  return Number.isFinite(relative) ? relative : Infinity;
}

/**
 * {@link relativeNorm} as a fraction of what is tolerated.
 * @throws MismatchError when it is above 1
 */
export function verifyNorm(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): number {
  const relative = relativeNorm(got, want);
  if (relative > tolerance) {
    throw new MismatchError(
      `bench: wrong result; ${what}: relative error ${relative} of ${got.length} values, expected at most ${tolerance}`,
    );
  }
  return relative / tolerance;
}
