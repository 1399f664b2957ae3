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
  let worst = 0;
  for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs(got[i] - want[i]) / tolerance[i]);
  return worst;
}

/**
 * ‖got − want‖ / ‖want‖ as a fraction of what is tolerated.
 * @throws MismatchError when it is above 1, or not finite
 */
export function verifyNorm(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < want.length; i++) {
    difference += (got[i] - want[i]) ** 2;
    size += want[i] ** 2;
  }
  const relative = got.length === want.length ? Math.sqrt(difference / size) : NaN;
  if (!(relative <= tolerance)) {
    throw new MismatchError(
      `bench: wrong result; ${what}: relative error ${relative} of ${got.length} values, expected at most ${tolerance}`,
    );
  }
  return relative / tolerance;
}
