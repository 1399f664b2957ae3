/** The latents a run starts from and ends in. */
import { InvalidArgumentError, NonFiniteError, numel } from '../../engine/index.ts';
import type { NormalGenerator } from '../../sampler/noise/generator.ts';
import { TorchGenerator } from '../../sampler/noise/torchGenerator.ts';
import type { GenerationOptions } from '../options/generation.ts';

/** What draws: one generator for the batch, or one per picture. */
export type Generators = NormalGenerator | readonly NormalGenerator[];

/** Shape of the latents: batch, channels, height, width. */
export type LatentShape = readonly [number, number, number, number];

/** What draws the noise: the one given, or a new one from a seed, by default a random one. */
export function generatorOf(generator: GenerationOptions['generator']): Generators {
  if (typeof generator === 'object') return generator;
  return new TorchGenerator(generator ?? Math.floor(Math.random() * 2 ** 32));
}

/**
 * Unit noise [B,C,h,w]; one generator per picture draws each picture's own. @throws InvalidArgumentError on a mismatch.
 */
export function initialNoise(
  [batch, ...item]: LatentShape,
  latents: Float32Array | undefined,
  generator: Generators,
): Float32Array {
  const size = numel(item);
  if (latents) {
    if (latents.length === batch * size) return latents;
    throw new InvalidArgumentError(
      `generate: expected latents [${[batch, ...item].join(',')}] = ${batch * size} elements, got ${latents.length}`,
    );
  }
  if ('randn' in generator) return generator.randn(batch * size);
  if (generator.length !== batch) {
    throw new InvalidArgumentError(`generate: expected one generator or ${batch}, got ${generator.length}`);
  }
  const noise = new Float32Array(batch * size);
  generator.forEach((g, i) => noise.set(g.randn(size), i * size));
  return noise;
}

/** Keeps a picture made of NaN, which would be a black one, from being shown. @throws NonFiniteError */
export function expectFinite(latents: Float32Array): void {
  const bad = latents.findIndex((v) => !Number.isFinite(v));
  if (bad < 0) return;
  throw new NonFiniteError(
    `generate: expected finite latents, got ${latents[bad]} at element ${bad}; ` +
      "use dtype: 'f32', or checkFinite: true to learn which op it was",
    'latents',
  );
}

/** What a pipeline says of its sizes, in pixels. */
export interface Sizes {
  readonly sampleSize: { width: number; height: number };
  /** Width and height must be multiples of this. */
  readonly sizeMultiple: number;
  /** Pixels per latent cell along each side. */
  readonly downsampling: number;
}

/**
 * Rows and columns of the latents for a size in pixels, by default the one that the networks were trained at.
 * @throws InvalidArgumentError unless width and height are positive multiples of sizeMultiple.
 */
export function latentSize(
  { sampleSize, sizeMultiple: multiple, downsampling }: Sizes,
  { width = sampleSize.width, height = sampleSize.height }: { width?: number; height?: number },
): [number, number] {
  for (const [name, value] of Object.entries({ width, height })) {
    if (!Number.isInteger(value) || value < multiple || value % multiple !== 0) {
      const near = Math.max(multiple, Math.round(value / multiple) * multiple) || multiple;
      throw new InvalidArgumentError(
        `generate: expected ${name} to be a positive multiple of ${multiple}, got ${value}; choose ${near}`,
      );
    }
  }
  return [height / downsampling, width / downsampling];
}
