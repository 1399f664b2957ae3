/** From one noise to another, and the pictures on the way. */
import { InvalidArgumentError } from '../../engine/index.ts';

/** Below this angle, radians, the arc and its chord are the same to f32. */
const SMALL = 1e-4;

/**
 * The point t of the way along the arc from a to b: sin((1 − t)·ω)/sin ω·a + sin(t·ω)/sin ω·b with ω the angle between
 * them. Of two noises it has a noise's norm again, which a point of the chord has not. Shoemake 1985, section 3.3.
 * Parallel, opposite and zero vectors have no arc; there it is the chord.
 * @param t 0 is a, 1 is b; beyond them the arc goes on
 * @throws InvalidArgumentError if lengths differ or t is not finite
 */
export function slerp(a: Float32Array, b: Float32Array, t: number): Float32Array {
  if (a.length !== b.length || a.length === 0 || !Number.isFinite(t)) {
    throw new InvalidArgumentError(
      `slerp: expected two vectors of one length and a finite t, got ${a.length}, ${b.length} and ${t}`,
    );
  }
  let [aa, bb, ab] = [0, 0, 0];
  a.forEach((v, i) => {
    aa += v * v;
    bb += b[i] * b[i];
    ab += v * b[i];
  });
  const angle = aa > 0 && bb > 0 ? Math.acos(Math.min(1, Math.max(-1, ab / Math.sqrt(aa * bb)))) : 0;
  const straight = angle < SMALL || angle > Math.PI - SMALL;
  const p = straight ? 1 - t : Math.sin((1 - t) * angle) / Math.sin(angle);
  const q = straight ? t : Math.sin(t * angle) / Math.sin(angle);
  return a.map((v, i) => p * v + q * b[i]);
}

/**
 * `count` points of the arc from a to b, both ends among them, behind each other: the `latents` of a batch.
 * @throws InvalidArgumentError unless count ≥ 2, and as {@link slerp}
 */
export function interpolateLatents(a: Float32Array, b: Float32Array, count: number): Float32Array {
  if (!Number.isInteger(count) || count < 2) {
    throw new InvalidArgumentError(`interpolateLatents: expected count to be an integer ≥ 2, got ${count}`);
  }
  const all = new Float32Array(count * a.length);
  for (let i = 0; i < count; i++) all.set(slerp(a, b, i / (count - 1)), i * a.length);
  return all;
}
