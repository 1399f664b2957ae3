/**
 * Pictures from noise in the latent space of an autoencoder with a codebook: diffusers' `LDMPipeline` folders.
 * Rombach et al. 2022, https://arxiv.org/abs/2112.10752
 */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/index.ts';
import type { SampleOptions } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { chosenScheduler, pictureCount } from '../run/basePipeline.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import type { UnconditionalOptions, UnconditionalResult } from '../options/pictureOptions.ts';
import { labelsOfBatch, unet2dNetwork } from '../pixelDiffusion/unet2dNetwork.ts';
import { loadVqLatent, VqLatentPipeline } from './vqLatentPipeline.ts';

/** Pictures from noise by latent diffusion: U-Net, codebook and scheduler of one folder on one device. */
export class LDMPipeline extends VqLatentPipeline {
  /** The `_class_name` of such a folder. */
  static readonly className = 'LDMPipeline';

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<LDMPipeline> {
    const form = { className: LDMPipeline.className, seen: 1 } as const;
    return loadVqLatent(device, directory, options, form, (parts) => {
      return new LDMPipeline(device, parts, options.onProgress, parts.vqvae.config.scalingFactor);
    });
  }

  /**
   * From noise to pictures; by default 50 steps.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: UnconditionalOptions = {}): Promise<UnconditionalResult> {
    const { unet, scheduler } = this.parts;
    const { useClippedModelOutput, numInferenceSteps = 50, checkFinite } = options;
    const sampler = samplerFrom(chosenScheduler(scheduler, options.scheduler));
    const batch = pictureCount('batchSize', options.batchSize);
    const shape: LatentShape = [batch, unet.config.inChannels, ...latentSize(this, options)];
    const classLabels = labelsOfBatch(options.classLabels, unet.config, batch);
    const network = { shape, classLabels, checkFinite, onProgress: this.onProgress };
    const result = await runLatents(
      {
        device: this.device,
        sampler: { sample: (given: SampleOptions) => sampler.sample({ ...given, useClippedModelOutput }) },
        shape,
        denoiser: (space: GpuSpace) => sampler.denoiser(unet2dNetwork(space, unet, network)),
        decode: this.toPictures,
      },
      { ...options, numInferenceSteps },
    );
    return { ...result, classLabels: classLabels instanceof Float32Array ? undefined : classLabels };
  }
}
