/** What pipelines of class → picture in the latents of a KL autoencoder have in common: parts, guidance, plan. */
import type { Device, Profile, Report } from '../../engine/index.ts';
import type { AutoencoderKL, ModelOutput, RunOptions, TensorInput } from '../../models/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import type { ClassToImageOptions, ClassToImageResult } from '../options/classToImage.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { workOf, type Part, type RunShape } from '../run/basePipeline.ts';
import { guidedDenoiser, outputParts, repeatedState, type ToldNetwork } from '../run/guidedDenoiser.ts';
import { KlPipeline } from '../run/klPipeline.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';

/** A network of latents that is told of classes. */
export interface ClassNetwork {
  readonly config: { readonly inChannels: number };
  forward(
    call: RunOptions & { sample: TensorInput; timestep: number; classLabels: readonly number[] },
  ): Promise<ModelOutput>;
  plan(shape: RunShape): Report;
  profile(shape: RunShape, options?: RunOptions): Promise<Profile>;
}

/** The networks of a folder, and its scheduler's config. */
export interface ClassParts<Network extends ClassNetwork> {
  network: Network;
  vae: AutoencoderKL;
  scheduler: Readonly<Record<string, unknown>>;
  all: readonly Part[];
}

const SCHEDULERS = { ddim: 'DDIMScheduler', ddpm: 'DDPMScheduler' } as const;

/** Class → picture: network, autoencoder, scheduler and labels of one folder on one device. */
export abstract class ClassPipeline<Network extends ClassNetwork> extends KlPipeline {
  protected constructor(
    device: Device,
    protected readonly parts: ClassParts<Network>,
    /** Class names by index. */
    override readonly labels: Readonly<Record<number, string>>,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts.vae, parts.all, onProgress);
  }

  /** One evaluation is both halves of the guidance. */
  protected work(shape: RunShape) {
    return {
      network: workOf(this.parts.network, { ...shape, batch: 2 * shape.batch }),
      decoder: this.decoding(shape),
    };
  }

  /**
   * Pictures of the classes given, one each.
   * @param nullClass what stands for no class; undefined for the conditional network alone
   */
  protected ofClasses(
    classes: readonly number[],
    nullClass: number | undefined,
    options: ClassToImageOptions & { guidanceScale: number },
  ): Promise<ClassToImageResult> {
    const { scheduler, network } = this.parts;
    const sampler = samplerFrom(
      options.sampler ? { ...scheduler, _class_name: SCHEDULERS[options.sampler] } : scheduler,
    );
    const shape: LatentShape = [classes.length, network.config.inChannels, ...latentSize(this, options)];
    const both = nullClass === undefined ? undefined : [...classes.map(() => nullClass), ...classes];
    const { guidanceScale, checkFinite } = options;
    const { device, onProgress, toPictures: decode } = this;
    const run: Parameters<typeof runLatents>[0] = {
      device,
      sampler,
      shape,
      denoiser(space) {
        const told: ToldNetwork<readonly number[]> = async (v, timestep, classLabels, signal) => {
          const sample = repeatedState(space.contiguous(v).buffer, shape, classLabels.length / classes.length);
          // A learned variance stands behind the noise of each item; the sampler takes it apart.
          const out = await network.forward({ sample, timestep, classLabels, signal, checkFinite, onProgress });
          return outputParts(space, out, classes.length);
        };
        return guidedDenoiser(sampler, told, { alone: classes, both }, guidanceScale, options);
      },
      decode,
    };
    return runLatents(run, options);
  }
}
