/**
 * Pictures by a network of consistency_models, in one step or several, from noise, a class or a picture to edit; its
 * diffusion models (EDM, progressive distillation) too. A folder is the network alone: `config.json` with the flags of
 * the authors' scripts (`training_mode`, `image_size`, `num_channels` …) or the constructor's arguments of `UNetModel`,
 * and the weights under their original keys. Song et al. 2023, https://arxiv.org/abs/2303.01469
 */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import { AdmUNet } from '../../models/adm/admModel.ts';
import { clipped, consistentEps } from '../../sampler/parameterisation/clip.ts';
import { consistencyEdit } from '../../sampler/editing/consistencyEdit.ts';
import { parameterise, type Denoiser } from '../../sampler/parameterisation/denoiser.ts';
import { consistencyScalings, edmScalings, scaledBy } from '../../sampler/parameterisation/scalings.ts';
import { runSolver } from '../../sampler/loop.ts';
import type { SampleOptions } from '../../sampler/diffusers/samplerFrom.ts';
import { LinearForm } from '../../sampler/vec.ts';
import { admNetwork } from '../adm/onGpu.ts';
import { loadParts } from '../run/basePipeline.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents } from '../run/latentRun.ts';
import { generatorOf, latentSize, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { expectPicture } from '../run/pixelDecoder.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { readConsistencySetup, type ConsistencySetup } from './consistencyConfig.ts';
import { checkEdit, editOf, type Edit } from './consistencyEdits.ts';
import { allPlaces, gridOf, planOf, stepsBetween, toldByLog, type ConsistencyPlan } from './consistencySampler.ts';
import { openOriginal, withoutLabels, type OriginalSource } from './openOriginal.ts';
import type { ClassedResult, ConsistencyOptions } from './options.ts';
import { classesOf, generatorsOf, PixelPipeline, seededClasses } from './pixelPipeline.ts';

/** Options of other kinds, and what stands for them here. */
const FOREIGN = {
  brownian: 'samplers draw their own noise',
  sigmas: 'give numInferenceSteps and ts, places on its grid',
  timesteps: 'give numInferenceSteps and ts, places on its grid',
  eta: 'the sampler says how noise is added',
  guidanceScale: 'the network is not guided; leave it out',
};

/** Pictures by one network of consistency_models on one device. */
export class ConsistencyPipeline extends PixelPipeline {
  private constructor(
    device: Device,
    private readonly unet: AdmUNet,
    private readonly setup: ConsistencySetup,
    /** Class names by index. */
    override readonly labels: Readonly<Record<number, string>>,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, unet, [-1, 1], onProgress);
  }

  /**
   * Loads the folder of a network, or a config and checkpoint that are open already.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, WeightError, UnsupportedError for a network that
   * makes no pictures, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    source: OriginalSource,
    options: LoadPipelineOptions = {},
  ): Promise<ConsistencyPipeline> {
    const { onProgress } = options;
    const opened = await openOriginal(source, options);
    try {
      const { labels, config } = withoutLabels(opened.config);
      const setup = readConsistencySetup(config, 'consistency model config');
      return await loadParts(async (own) => {
        const load = networkOptions(device, options);
        const unet = await own(AdmUNet.load(device, { config: setup.network, checkpoint: opened.checkpoint }, load));
        expectPicture('ConsistencyPipeline', unet.config.inChannels);
        return new ConsistencyPipeline(device, unet, setup, labels, onProgress);
      });
    } finally {
      await opened.close();
    }
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.unet.sizeMultiple;
  }

  /** The size the network was trained at, pixels; 0 where its config does not say. */
  get sampleSize(): { width: number; height: number } {
    const side = this.unet.config.imageSize ?? 0;
    return { width: side, height: side };
  }

  /** The number of classes; 0 for a network without. */
  get numClasses(): number {
    return this.unet.config.numClasses ?? 0;
  }

  /**
   * From noise to pictures; by default in the one step of a consistency model. With `edit` from a picture: its masked
   * part made anew, its brightness in new colours, or its coarse form with new detail (algorithm 4). Steps tell sigma
   * as their timestep. Classes that are drawn follow from the seed.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: ConsistencyOptions = {}): Promise<ClassedResult> {
    refuseOptions(options, FOREIGN);
    const { unet, numClasses, device, toPictures: decode } = this;
    const { inChannels } = unet.config;
    const edit = options.edit === undefined ? undefined : editOf(options, inChannels, this.sampleSize);
    if (!edit) checkEdit(options);
    const told = classesOf(
      { ...options, batchSize: options.batchSize ?? options.seeds?.length ?? edit?.pictures },
      numClasses,
      this.labels,
    );
    const size = latentSize(this, edit ? edit.size : options);
    const shape: LatentShape = [told.batch, inChannels, ...size];
    const generator = generatorOf(generatorsOf(options, told.batch));
    const classLabels = told.classes ?? (numClasses > 0 ? seededClasses(generator, told.batch, numClasses) : undefined);
    const grid = gridOf(options, this.setup);
    const sample = async (given: SampleOptions) => {
      const { denoiser, generator: own, resume, signal, onStep } = given;
      const space = given.x.space as GpuSpace;
      const x = LinearForm.of(given.x, grid.sigmaMax).materialise();
      const plan = edit
        ? editing(edit, space, shape, stepsBetween(options.ts ?? allPlaces(grid), grid), grid.sigmaMin)
        : planOf(this.samplerOf(options), grid, options);
      const last = await runSolver({ ...plan, x, denoiser, generator: own, resume, signal, onStep });
      return space.clamp(LinearForm.of(last), -1, 1);
    };
    const denoiser = (space: GpuSpace) =>
      this.denoiserOn(space, shape, classLabels, { ...options, clipDenoised: edit ? true : options.clipDenoised });
    const run = { device, sampler: { sample }, shape, denoiser, decode };
    return { ...(await runLatents(run, { ...options, ...sizeless, generator })), classLabels };
  }

  private samplerOf({ sampler, ts }: ConsistencyOptions) {
    const { distillation, progressive } = this.setup;
    const usual = distillation ? 'onestep' : progressive ? 'progdist' : 'heun';
    const chosen = sampler ?? (ts ? 'multistep' : usual);
    if (!ts || chosen === 'multistep') return chosen;
    throw new InvalidArgumentError(`generate: expected ts with multistep or edit alone, got them with ${chosen}`);
  }

  private denoiserOn(
    space: GpuSpace,
    shape: LatentShape,
    classLabels: readonly number[] | undefined,
    { clipDenoised = this.setup.clipDenoised, checkFinite }: ConsistencyOptions,
  ): Denoiser {
    const { sigmaData, sigmaMin, distillation } = this.setup;
    const network = admNetwork(space, this.unet, { shape, classLabels, checkFinite, onProgress: this.onProgress });
    const reads = scaledBy((sigma) =>
      distillation ? consistencyScalings(sigma, sigmaData, sigmaMin) : edmScalings(sigma, sigmaData),
    );
    const ask = toldByLog(parameterise(network, reads));
    return clipDenoised ? consistentEps(clipped(ask)) : ask;
  }
}

/** Sizes are those of the shape already. */
const sizeless = { width: undefined, height: undefined };

function editing(
  edit: Edit,
  space: GpuSpace,
  shape: LatentShape,
  transitions: ConsistencyPlan['transitions'],
  sigmaMin: number,
): ConsistencyPlan {
  return { transitions, solver: consistencyEdit({ replace: edit.replacement(space, shape), sigmaMin }) };
}
