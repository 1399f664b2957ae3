/**
 * Pictures from noise, in the space of pixels: diffusers' folders of a `UNet2DModel` and a scheduler.
 *
 * Ho et al. 2020 (DDPM), https://arxiv.org/abs/2006.11239; Song et al. 2021 (DDIM), https://arxiv.org/abs/2010.02502;
 * Liu et al. 2022 (PNDM), https://arxiv.org/abs/2202.09778; Song et al. 2021 (Score SDE),
 * https://arxiv.org/abs/2011.13456; Karras et al. 2022, https://arxiv.org/abs/2206.00364; Song et al. 2023 (consistency
 * models), https://arxiv.org/abs/2303.01469
 */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { UNet2D } from '../../models/index.ts';
import {
  parameterise,
  runSolver,
  type Denoiser,
  type Network,
  type Parameterisation,
  type Sampler,
  type SampleOptions,
  type SchedulerClass,
  type Solver,
} from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { LinearForm } from '../../sampler/vec.ts';
import {
  BasePipeline,
  chosenScheduler,
  loadParts,
  pictureCount,
  readScheduler,
  workOf,
  type RunShape,
  type Work,
} from '../run/basePipeline.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import type { LikelihoodCall, PictureLikelihood } from './pictureLikelihood.ts';
import type { UnconditionalOptions, UnconditionalResult } from '../options/pictureOptions.ts';
import { expectPicture, pixelDecoder } from '../run/pixelDecoder.ts';
import { labelsOfBatch, unet2dNetwork } from './unet2dNetwork.ts';

/** What the kinds differ in. */
interface Kind {
  /** What the reference library takes, untold. */
  numInferenceSteps: number;
  /** What the folder's scheduler is made into, whatever it names. */
  scheduler?: SchedulerClass;
  /** Of the pictures, as the network sees them; default −1 … 1. */
  range?: readonly [number, number];
  /** The network as a denoiser, where the scheduler's own way is not it. */
  denoiser?(network: Network): Denoiser;
  /** Whether classes are drawn where the network knows some and the caller names none. */
  anyClass?: boolean;
  /** The run, where it is not the sampler's own. */
  sample?(sampler: Sampler, options: SampleOptions): ReturnType<Sampler['sample']>;
}

const KINDS: Readonly<Record<string, Kind>> = {
  DDPMPipeline: { numInferenceSteps: 1000 },
  DDIMPipeline: { numInferenceSteps: 50, scheduler: 'DDIMScheduler' },
  PNDMPipeline: { numInferenceSteps: 50, scheduler: 'PNDMScheduler' },
  ScoreSdeVePipeline: { numInferenceSteps: 2000, range: [0, 1], sample: sampleToMean },
  KarrasVePipeline: { numInferenceSteps: 50, denoiser: (network) => parameterise(halved(network), karrasVeReading) },
  ConsistencyModelPipeline: { numInferenceSteps: 1, anyClass: true },
};

/** Pictures from noise: U-Net and scheduler of one folder on one device. */
export class UnconditionalPipeline extends BasePipeline {
  /** The `_class_name`s of such folders. */
  static readonly classNames: readonly string[] = Object.keys(KINDS);

  private constructor(
    device: Device,
    private readonly kind: Kind,
    private readonly unet: UNet2D,
    /** The scheduler's config, as it runs. */
    readonly schedulerConfig: Readonly<Record<string, unknown>>,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, [unet], pixelDecoder(device, kind.range), onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError, UnsupportedError for a scheduler that is not built
   * or a network that does not make pictures, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<UnconditionalPipeline> {
    const { signal, onProgress } = options;
    const { className } = await readModelIndex(directory, UnconditionalPipeline.classNames, signal);
    const kind = KINDS[className];
    const scheduler = await readScheduler(directory, options, { className: kind.scheduler });
    return loadParts(async (own) => {
      const load = networkOptions(device, options);
      const unet = await own(UNet2D.load(device, directory.folder('unet'), load));
      expectPicture(directory.name, unet.config.inChannels);
      return new UnconditionalPipeline(device, kind, unet, scheduler, onProgress);
    });
  }

  /** Pixels themselves. */
  get downsampling(): number {
    return 1;
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return this.unet.sizeMultiple;
  }

  /** The size the network was trained at, pixels; 0 where its config does not say. */
  get sampleSize(): { width: number; height: number } {
    const [height, width] = this.unet.config.sampleSize ?? [0, 0];
    return { width, height };
  }

  /**
   * From noise to pictures; by default as many steps as the reference library takes (DDPM 1000, DDIM, PNDM and Karras
   * 50, score-based 2000, consistency models one). A consistency model of classes that is told none is told random
   * ones, which the result names; its `timesteps` are places 0 … N − 1 on the scale of noise it was trained on.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: UnconditionalOptions = {}): Promise<UnconditionalResult> {
    const { kind, unet, onProgress } = this;
    const { useClippedModelOutput, checkFinite } = options;
    const sampler = this.samplerOf(options.scheduler);
    const batch = pictureCount('batchSize', options.batchSize);
    const shape: LatentShape = [batch, unet.config.inChannels, ...latentSize(this, options)];
    const classLabels = labelsOfBatch(options.classLabels ?? this.anyClasses(batch), unet.config, batch);
    const usual = Math.min(kind.numInferenceSteps, sampler.config.numTrainTimesteps);
    const { numInferenceSteps = usual } = options;
    const sample = (given: SampleOptions) => {
      const all = { ...given, useClippedModelOutput };
      return kind.sample ? kind.sample(sampler, all) : sampler.sample(all);
    };
    const denoiser = (space: GpuSpace) => {
      const network = unet2dNetwork(space, unet, { shape, classLabels, checkFinite, onProgress });
      return kind.denoiser?.(network) ?? sampler.denoiser(network);
    };
    const run = { device: this.device, sampler: { sample }, shape, denoiser, decode: this.toPictures };
    const result = await runLatents(run, { ...options, numInferenceSteps });
    return { ...result, classLabels: classLabels instanceof Float32Array ? undefined : classLabels };
  }

  /**
   * How likely pictures are, by the probability flow.
   * @throws InvalidArgumentError for pictures that do not fit; UnsupportedError where the scheduler's process has no
   * such flow here; LimitError, AbortedError, DeviceLostError, OutOfMemoryError
   */
  async likelihood(call: LikelihoodCall): Promise<PictureLikelihood> {
    const [{ pictureLikelihood }, { flowProcess }] = await Promise.all([
      import('./pictureLikelihood.ts'),
      import('./flowProcess.ts'),
    ]);
    const { kind, unet, onProgress } = this;
    return pictureLikelihood(this.device, call, {
      process: flowProcess(samplerFrom(this.schedulerConfig)),
      channels: unet.config.inChannels,
      range: kind.range ?? [-1, 1],
      denoiser: (space, shape, reads) => {
        const classLabels = labelsOfBatch(call.classLabels, unet.config, shape[0]);
        const network = unet2dNetwork(space, unet, { shape, classLabels, onProgress });
        return kind.denoiser?.(network) ?? parameterise(network, reads);
      },
    });
  }

  protected work(shape: RunShape): { network: Work } {
    return { network: workOf(this.unet, shape) };
  }

  private anyClasses(batch: number): number[] | undefined {
    const { classEmbedding, numClassEmbeds } = this.unet.config;
    if (!this.kind.anyClass || classEmbedding !== 'table') return undefined;
    return Array.from({ length: batch }, () => Math.floor(Math.random() * numClassEmbeds!));
  }

  private samplerOf(given: UnconditionalOptions['scheduler']): Sampler {
    if (given === undefined || (!this.kind.sample && !this.kind.denoiser)) {
      return samplerFrom(chosenScheduler(this.schedulerConfig, given));
    }
    throw new InvalidArgumentError(
      'generate: expected no scheduler, since this pipeline goes with its own; leave it out',
    );
  }
}

/** In the last step of a score-based run the mean is the picture: Song et al. 2021, appendix G. */
async function sampleToMean(sampler: Sampler, options: SampleOptions): ReturnType<Sampler['sample']> {
  const transitions = sampler.transitions(options);
  const { eta, useClippedModelOutput } = options; // refused where they are given
  if (options.brownian) {
    throw new InvalidArgumentError('generate: expected no brownian path in a score-based run; leave it out');
  }
  const solver = quietAtLast(sampler.solver({ eta, useClippedModelOutput }), sampler.config.correctSteps + 1);
  const fresh = !options.resume && options.start === undefined;
  const x = fresh ? LinearForm.of(options.x, sampler.initNoiseSigma(options)).materialise() : options.x;
  try {
    return await runSolver({ ...options, x, transitions, solver, denoiser: sampler.corrected(options.denoiser) });
  } finally {
    if (x !== options.x) x.space.release(x);
  }
}

/** Takes the last draw of the last step for nothing; it is drawn all the same, so that generators stay in step. */
function quietAtLast(solver: Solver, draws: number): Solver {
  return (step) => {
    if (step.index !== (step.transitions?.length ?? 0) - 1) return solver(step);
    let left = draws;
    const noise: typeof step.noise = (like, to) => {
      const z = step.noise(like, to);
      return --left === 0 ? z.space.clamp(LinearForm.of(z), 0, 0) : z;
    };
    return solver({ ...step, noise });
  };
}

/** Such networks see pictures in 0 … 1, whose noise is half as large as in −1 … 1. Karras et al. 2022, equation 213. */
function halved(network: Network): Network {
  return (x, sigma, signal) =>
    network(
      LinearForm.of(x, 1 / 2)
        .plusConstant(1 / 2)
        .materialise(),
      sigma / 2,
      signal,
    );
}

/** What they answer is the score there. */
const karrasVeReading: Parameterisation = {
  x0: (x, out, { sigma }) => LinearForm.of(x).plus(out, sigma ** 2 / 2),
  eps: (_x, out, { sigma }) => out.scale(-sigma / 2),
};
