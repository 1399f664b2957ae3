/**
 * Super-resolution in the latent space of an autoencoder with a codebook: the network sees the small picture in the
 * channels behind the latents, whose cells are the small picture's pixels. diffusers' `LDMSuperResolutionPipeline`
 * folders. Rombach et al. 2022, section 4.4, https://arxiv.org/abs/2112.10752
 */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { LinearForm } from '../../sampler/vec.ts';
import { chosenScheduler } from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { planesOf, type Planes } from '../picture/imageInput.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import type { SuperResolutionOptions } from '../options/pictureOptions.ts';
import { unet2dBeside } from '../pixelDiffusion/unet2dNetwork.ts';
import { loadVqLatent, VqLatentPipeline } from './vqLatentPipeline.ts';

/** Small pictures → large ones: U-Net, codebook and scheduler of one folder on one device. */
export class LDMSuperResolutionPipeline extends VqLatentPipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'LDMSuperResolutionPipeline';

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<LDMSuperResolutionPipeline> {
    const form = { className: LDMSuperResolutionPipeline.className, seen: 2 } as const;
    return loadVqLatent(device, directory, options, form, (parts) => {
      return new LDMSuperResolutionPipeline(device, parts, options.onProgress, 1); // its latents are not scaled
    });
  }

  /**
   * Small pictures → large ones; by default 100 steps.
   * @throws InvalidArgumentError for an option out of range or a picture whose size does not fit; LimitError where it
   * does not fit the device; AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError,
   * OutOfMemoryError. After any of them but a lost device the pipeline stays usable.
   */
  async generate(options: SuperResolutionOptions): Promise<GenerationResult> {
    const { vqvae, scheduler } = this.parts;
    const channels = vqvae.config.vqEmbedDim;
    const image = planesOf('image', options.image, channels, [-1, 1]);
    const [batch, , height, width] = image.shape;
    const f = this.downsampling;
    const shape: LatentShape = [batch, channels, ...latentSize(this, { height: height * f, width: width * f })];
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const { numInferenceSteps = 100, checkFinite } = options;
    return runLatents(
      {
        device: this.device,
        sampler,
        shape,
        denoiser: (space) => this.denoiser(space, sampler, image, checkFinite),
        decode: this.toPictures,
      },
      { ...options, numInferenceSteps },
    );
  }

  private denoiser(space: GpuSpace, sampler: Sampler, { data, shape }: Planes, checkFinite?: boolean): Denoiser {
    const image = space.vec(data, shape[0]);
    const { onProgress } = this;
    const network = unet2dBeside(space, this.parts.unet, { shape, checkFinite, onProgress });
    return (x, level, signal) => {
      const read = sampler.denoiser((v, t, abort) => {
        // As in the reference library, what scales the state for the network scales the picture beside it.
        const beside = v === x ? image : LinearForm.of(image, 1 / Math.hypot(level.alpha, level.sigma)).materialise();
        return network(v, beside, t, abort);
      });
      return read(x, level, signal);
    };
  }
}
