/**
 * What pipelines over the latents of a KL autoencoder have in common. Rombach et al. 2022,
 * https://arxiv.org/abs/2112.10752
 */
import type { Device } from '../../engine/index.ts';
import type { AutoencoderKL } from '../../models/index.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { BasePipeline, workOf, type Part, type PictureLatents, type RunShape, type Work } from './basePipeline.ts';
import { klDecoder, klLatents, type LatentDecoder } from './latentDecoder.ts';

/** A network of latents with its autoencoder. */
export abstract class KlPipeline extends BasePipeline {
  /** @param decode where it is not as the autoencoder's config says */
  protected constructor(
    device: Device,
    protected readonly vae: AutoencoderKL,
    all: readonly Part[],
    onProgress: LoadPipelineOptions['onProgress'],
    decode: LatentDecoder = klDecoder(device, vae),
  ) {
    super(device, all, decode, onProgress);
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.vae.downsampling;
  }

  protected override get autoencoder(): PictureLatents {
    return klLatents(this.vae);
  }

  /** One call of the decoder; rows and columns in latent cells. */
  protected decoding({ batch, height, width }: RunShape): Work {
    const { vae } = this;
    return workOf(
      {
        plan: (shape) => vae.plan('decode', shape),
        profile: (shape, options) => vae.profile('decode', shape, options),
      },
      { batch, height, width },
    );
  }
}
