/** The posterior that a variational autoencoder's encoder describes: independent normals. Kingma & Welling 2014. */
import { formatShape, numel, ShapeError } from '../engine/index.ts';

/** Log variances outside this range are clamped, as in the reference library. */
const LOGVAR_RANGE = [-30, 20] as const;

/** Independent normals, one per latent element. */
export class DiagonalGaussian {
  /** [B,L,h,w]. */
  readonly shape: readonly number[];
  readonly mean: Float32Array;
  /** Clamped to [−30, 20]. */
  readonly logvar: Float32Array;

  /** @param moments [B,2L,h,w]: mean, then log variance. @throws ShapeError for an odd number of channels. */
  constructor(moments: Float32Array, shape: readonly number[]) {
    const [B, C, ...size] = shape;
    if (shape.length !== 4 || C % 2 !== 0 || moments.length !== numel(shape)) {
      throw new ShapeError(
        `DiagonalGaussian: expected moments [B,2L,h,w], got ${moments.length} values of shape ${formatShape(shape)}`,
      );
    }
    this.shape = [B, C / 2, ...size];
    const item = numel(this.shape) / B;
    this.mean = new Float32Array(B * item);
    this.logvar = new Float32Array(B * item);
    for (let b = 0; b < B; b++) {
      this.mean.set(moments.subarray(2 * b * item, (2 * b + 1) * item), b * item);
      this.logvar.set(moments.subarray((2 * b + 1) * item, (2 * b + 2) * item), b * item);
    }
    const [low, high] = LOGVAR_RANGE;
    this.logvar.forEach((v, i) => (this.logvar[i] = Math.min(high, Math.max(low, v))));
  }

  /** Standard deviations [B,L,h,w]. */
  get std(): Float32Array {
    return this.logvar.map((v) => Math.exp(v / 2));
  }

  /** The most likely latent. */
  mode(): Float32Array {
    return this.mean;
  }

  /** mean + std·noise; noise [B,L,h,w], standard normal. @throws ShapeError for noise of another size. */
  sample(noise: ArrayLike<number>): Float32Array {
    if (noise.length !== this.mean.length) {
      throw new ShapeError(
        `DiagonalGaussian: expected noise ${formatShape(this.shape)} = ${this.mean.length}, got ${noise.length}`,
      );
    }
    return this.mean.map((m, i) => m + Math.exp(this.logvar[i] / 2) * noise[i]);
  }
}
