/** Features of the noise level that EDM's networks are told, with f32 angles as where they were trained. */
import { InvalidArgumentError } from '../../engine/index.ts';

const f = Math.fround;

/**
 * Sinusoids [B,dim] of noise labels: the first half cosines, or sines with `sinFirst` (SongUNet exchanges the halves).
 * @param endpoint whether the last frequency is 1/10,000
 */
export function positionalFeatures(
  labels: readonly number[],
  dim: number,
  { endpoint, sinFirst }: { endpoint: boolean; sinFirst: boolean },
): Float32Array {
  const half = dim / 2;
  const frequencies = Float32Array.from({ length: half }, (_, i) => f(1e-4) ** f(i / f(half - (endpoint ? 1 : 0))));
  return sinusoids(labels, frequencies, sinFirst);
}

/** Sines, then cosines [B,2·D] of 2π·label·freqs; freqs [D] as stored. Tancik et al. 2020. */
export function fourierFeatures(labels: readonly number[], freqs: Float32Array): Float32Array {
  return sinusoids(
    labels,
    freqs.map((v) => f(2 * Math.PI) * v),
    true,
  );
}

function sinusoids(labels: readonly number[], frequencies: Float32Array, sinFirst: boolean): Float32Array {
  const half = frequencies.length;
  const out = new Float32Array(labels.length * 2 * half);
  labels.forEach((label, b) => {
    if (!Number.isFinite(label))
      throw new InvalidArgumentError(`EDM network: expected finite noise labels, got ${label}; sigma must be above 0`);
    frequencies.forEach((frequency, i) => {
      const angle = f(f(label) * frequency);
      out[2 * half * b + i] = sinFirst ? Math.sin(angle) : Math.cos(angle);
      out[2 * half * b + half + i] = sinFirst ? Math.cos(angle) : Math.sin(angle);
    });
  });
  return out;
}
