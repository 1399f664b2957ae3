/** Between an autoencoder's latents and what a denoiser was trained on: one factor and offset, or one per channel. */
import { formatShape, InvalidArgumentError, numel } from '../engine/index.ts';

/** The fields of an autoencoder's config that say it; absent ones change nothing. */
export interface LatentStatistics {
  scalingFactor: number;
  shiftFactor?: number | null;
  latentsMean?: readonly number[] | null;
  latentsStd?: readonly number[] | null;
}

/** x·factor + offset; lists have one element for all channels, or one per channel. */
export interface LatentMap {
  factor: readonly number[];
  offset: readonly number[];
}

/**
 * (z − shift)·scale for the denoiser, and back for the decoder; where mean and deviation per channel are given,
 * (z − mean)·scale / std. Rombach et al. 2022, appendix G; shifts came with Esser et al. 2024.
 * @throws InvalidArgumentError for a mean without a deviation, or of another length.
 */
export function latentScaling(config: LatentStatistics): { toDenoiser: LatentMap; toDecoder: LatentMap } {
  const { scalingFactor, shiftFactor, latentsMean, latentsStd } = config;
  if ((latentsMean?.length ?? 0) !== (latentsStd?.length ?? 0)) {
    throw new InvalidArgumentError(
      `latentScaling: expected as many latents_mean as latents_std, got ${latentsMean?.length ?? 0} and ` +
        `${latentsStd?.length ?? 0}; correct the config`,
    );
  }
  const mean = latentsMean ?? [shiftFactor ?? 0];
  const factor = (latentsStd ?? [1]).map((std) => scalingFactor / std);
  return {
    toDenoiser: { factor, offset: mean.map((m, i) => -m * factor[i]) },
    toDecoder: { factor: factor.map((f) => 1 / f), offset: mean },
  };
}

/**
 * A map applied to latents [B,C,h,w] on the host.
 * @throws InvalidArgumentError unless there are as many values as the shape has, and as many channels as the map.
 */
export function mapLatents(values: Float32Array, shape: readonly number[], map: LatentMap): Float32Array {
  const [, C = 0] = shape;
  const cells = numel(shape.slice(2));
  const n = map.factor.length;
  if (shape.length !== 4 || numel(shape) !== values.length || (n !== 1 && n !== C)) {
    throw new InvalidArgumentError(
      `mapLatents: expected latents [B,${n === 1 ? 'C' : n},h,w] with as many values, got ${formatShape(shape)} and ` +
        `${values.length} values; pass the shape that they have`,
    );
  }
  return values.map((x, i) => {
    const c = n === 1 ? 0 : Math.floor(i / cells) % C;
    return x * map.factor[c] + map.offset[c];
  });
}
