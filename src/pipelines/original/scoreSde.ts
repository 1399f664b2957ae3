/**
 * Pictures from noise by a network of score_sde (NCSN++, DDPM++): predictor and corrector, or the probability flow. A
 * folder is the network alone: `config.json` with the authors' config, its sections `model`, `data`, `training` (`sde`,
 * `continuous`) and `sampling`, and the weights under their original keys. Song et al. 2021,
 * https://arxiv.org/abs/2011.13456
 */
import { InvalidArgumentError, type Device } from '../../engine/index.ts';
import { NCSNpp } from '../../models/scoreSde/ncsnppModel.ts';
import {
  epsilonPrediction,
  parameterise,
  scorePrediction,
  type Denoiser,
} from '../../sampler/parameterisation/denoiser.ts';
import { runSolver } from '../../sampler/loop.ts';
import type { SampleOptions } from '../../sampler/diffusers/samplerFrom.ts';
import { predictorCorrector, sdeTransitions } from '../../sampler/sde/predictorCorrector.ts';
import { probabilityFlow } from '../../sampler/sde/probabilityFlow.ts';
import type { Sde } from '../../sampler/sde/sde.ts';
import { LinearForm, type Vec } from '../../sampler/vec.ts';
import { loadParts, pictureCount } from '../run/basePipeline.ts';
import type { GenerationResult } from '../options/generation.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { runLatents } from '../run/latentRun.ts';
import { latentSize, type LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { pictureLikelihood, type LikelihoodCall, type PictureLikelihood } from '../pixelDiffusion/pictureLikelihood.ts';
import { expectPicture } from '../run/pixelDecoder.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import { openOriginal, type OriginalSource } from './openOriginal.ts';
import type { ScoreSdeOptions } from './options.ts';
import { generatorsOf, networkOn, PixelPipeline } from './pixelPipeline.ts';
import { readScoreSdeSetup, toldAt, type ScoreSdeSetup } from './scoreSdeConfig.ts';

/** Options of other kinds, and what stands for them here. */
const FOREIGN = {
  classLabels: 'these networks know no classes',
  brownian: 'the predictor draws its own noise',
  sigmas: 'levels follow from numInferenceSteps',
  timesteps: 'levels follow from numInferenceSteps',
  eta: 'the predictor says how noise is added',
  guidanceScale: 'the network is not guided; leave it out',
};

/** What only one of the two methods reads. */
const FLOW_CHOOSES = "method 'ode' follows the probability flow by RK45; leave it out, or take method: 'pc'";
const OF_PC = {
  predictor: FLOW_CHOOSES,
  corrector: FLOW_CHOOSES,
  snr: FLOW_CHOOSES,
  correctorSteps: FLOW_CHOOSES,
  probabilityFlow: FLOW_CHOOSES,
  numInferenceSteps: "method 'ode' chooses its steps; give rtol and atol",
};
const STEPS_ARE_FIXED = "method 'pc' takes the steps it is told; leave it out, or take method: 'ode'";
const OF_ODE = { rtol: STEPS_ARE_FIXED, atol: STEPS_ARE_FIXED };

/** A run without what is said of pictures. */
interface Run extends Pick<SampleOptions, 'x' | 'denoiser' | 'generator' | 'resume' | 'signal' | 'onStep'> {
  sde: Sde;
  end: number;
}

/** Pictures by one network of score_sde on one device. */
export class ScoreSDEPipeline extends PixelPipeline {
  private constructor(
    device: Device,
    private readonly network: NCSNpp,
    private readonly setup: ScoreSdeSetup,
    private readonly range: readonly [number, number],
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, network, range, onProgress);
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
  ): Promise<ScoreSDEPipeline> {
    const { onProgress } = options;
    const opened = await openOriginal(source, options);
    try {
      const setup = readScoreSdeSetup(opened.config);
      setup.process(setup.steps); // a range that is no process is an error now
      return await loadParts(async (own) => {
        const load = networkOptions(device, options);
        const network = await own(NCSNpp.load(device, opened, load));
        const { numChannels, centered } = network.config;
        expectPicture('ScoreSDEPipeline', numChannels);
        return new ScoreSDEPipeline(device, network, setup, centered ? [-1, 1] : [0, 1], onProgress);
      });
    } finally {
      await opened.close();
    }
  }

  /** Width and height in pixels must be multiples of this. */
  get sizeMultiple(): number {
    return 2 ** (this.network.config.chMult.length - 1);
  }

  /** The size the network was trained at, pixels. */
  get sampleSize(): { width: number; height: number } {
    const side = this.network.config.imageSize;
    return { width: side, height: side };
  }

  /**
   * From noise to pictures; by default as many steps as the config has noise scales, often 1000. Steps tell times from
   * 1 down as their timestep. RK45 chooses its own steps; `numInferenceSteps` does not go with it.
   * @throws InvalidArgumentError for an option out of range; LimitError where the size does not fit the device;
   * AbortedError when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After
   * any of them but a lost device the pipeline stays usable.
   */
  async generate(options: ScoreSdeOptions = {}): Promise<GenerationResult> {
    refuseOptions(options, FOREIGN);
    const { setup, device, toPictures: decode } = this;
    const { method = setup.method } = options;
    if (method !== 'pc' && method !== 'ode') {
      throw new InvalidArgumentError(`generate: expected method pc or ode, got ${String(method)}`);
    }
    refuseOptions(options, method === 'ode' ? OF_PC : OF_ODE);
    const batch = pictureCount('batchSize', options.batchSize ?? options.seeds?.length);
    const shape: LatentShape = [batch, this.network.config.numChannels, ...latentSize(this, options)];
    const sde = setup.process(this.stepsOf(options));
    if (method === 'ode') this.expectFlow('generate');
    const end = checkEnd(options.end ?? sde.end);
    const continuous = method === 'ode' || setup.continuous;
    const sample = async (given: SampleOptions): Promise<Vec> => {
      const { denoiser, generator, resume, signal, onStep } = given;
      const x = LinearForm.of(given.x, sde.priorStd).materialise();
      try {
        const run = { x, denoiser, generator, resume, signal, onStep, sde, end };
        return await (method === 'ode' ? this.flow(run, options) : this.correct(run, options, continuous));
      } finally {
        if (x !== given.x) x.space.release(x);
      }
    };
    const denoiser = (space: GpuSpace) => this.denoiserAt(space, shape, sde, continuous, options.checkFinite);
    return runLatents(
      { device, sampler: { sample }, shape, denoiser, decode },
      { ...options, generator: generatorsOf(options, batch) },
    );
  }

  /**
   * How likely pictures are, by the probability flow; `end` is the time at which they stand, default as in
   * {@link generate}.
   * @throws InvalidArgumentError for pictures that do not fit; LimitError, AbortedError, DeviceLostError,
   * OutOfMemoryError
   */
  async likelihood(call: LikelihoodCall): Promise<PictureLikelihood> {
    refuseOptions(call, { classLabels: FOREIGN.classLabels });
    this.expectFlow('likelihood');
    const { setup, range, network } = this;
    const sde = setup.process(setup.steps);
    return pictureLikelihood(this.device, call, {
      process: { sde, end: sde.end, reads: this.reads(sde) },
      channels: network.config.numChannels,
      range,
      denoiser: (space, shape) => this.denoiserAt(space, shape, sde, true),
    });
  }

  private async correct(run: Run, options: ScoreSdeOptions, continuous: boolean): Promise<Vec> {
    const { sde, end, ...rest } = run;
    const { sampling } = this.setup;
    const { predictor, corrector, snr, correctorSteps, probabilityFlow, denoise } = options;
    const chosen = {
      predictor: predictor ?? sampling.predictor,
      corrector: corrector ?? sampling.corrector,
      snr: snr ?? sampling.snr,
      correctorSteps: correctorSteps ?? sampling.correctorSteps,
      probabilityFlow: probabilityFlow ?? sampling.probabilityFlow,
      denoise: denoise ?? sampling.denoise,
    };
    const solver = predictorCorrector(sde, chosen);
    expectSteps(sde, chosen);
    return runSolver({ ...rest, solver, transitions: sdeTransitions(sde, end, continuous) });
  }

  /** RK45, and with `denoise` one step of the predictor without its noise. */
  private async flow({ sde, end, generator: _unused, ...run }: Run, options: ScoreSdeOptions): Promise<Vec> {
    const { rtol, atol, denoise = this.setup.sampling.denoise } = options;
    const { x } = await probabilityFlow({ ...run, sde, to: end, rtol, atol });
    if (!denoise) return x;
    const transitions = [{ from: sde.level(end), to: { timestep: 0, alpha: 1, sigma: 0 } }];
    const solver = predictorCorrector(sde, { corrector: 'none' });
    const { denoiser, signal } = run;
    return runSolver({ x, denoiser, solver, transitions, signal, noise: (like) => like });
  }

  /** Steps that a call takes. @throws InvalidArgumentError where it may not choose them */
  private stepsOf({ numInferenceSteps }: ScoreSdeOptions): number {
    const { steps, continuous } = this.setup;
    if (numInferenceSteps === undefined) return steps;
    if (continuous || numInferenceSteps === steps) return numInferenceSteps;
    throw new InvalidArgumentError(
      `generate: expected numInferenceSteps ${steps}, got ${numInferenceSteps}: the network was trained on those levels ` +
        "alone; leave it out, or take method: 'ode'",
    );
  }

  /**
   * Networks of discrete sigmas know nothing between them; those of discrete times are asked there, as the authors do.
   */
  private expectFlow(where: string): void {
    const { continuous, steps, process } = this.setup;
    if (continuous || process(steps).kind !== 've') return;
    throw new InvalidArgumentError(
      `${where}: expected a network of all levels for the probability flow, got one of ${steps} sigmas alone ` +
        "(training.continuous is false); take method: 'pc'",
    );
  }

  private reads({ kind }: Sde) {
    return kind === 've' ? scorePrediction : epsilonPrediction;
  }

  private denoiserAt(
    space: GpuSpace,
    shape: LatentShape,
    sde: Sde,
    continuous: boolean,
    checkFinite?: boolean,
  ): Denoiser {
    const { network, onProgress } = this;
    const ask = networkOn(space, shape, (sample, t, signal) =>
      network.forward({ sample, timeCond: toldAt(sde, t, continuous), signal, checkFinite, onProgress }),
    );
    return parameterise(ask, this.reads(sde));
  }
}

/**
 * A discrete step keeps √(1 − β) of the state, and β grows with their length. @throws InvalidArgumentError where β ≥ 1
 */
function expectSteps(sde: Sde, { predictor, corrector }: Pick<ScoreSdeOptions, 'predictor' | 'corrector'>): void {
  const discrete = sde.kind === 'vp' && (predictor === 'reverse_diffusion' || predictor === 'ancestral_sampling');
  if (sde.langevinScale(1) > 0 || (!discrete && corrector === 'none')) return;
  throw new InvalidArgumentError(
    `generate: expected numInferenceSteps above beta_max for ${predictor} and ${corrector}, got ${sde.steps}; take more ` +
      "steps, or predictor: 'euler_maruyama' and corrector: 'none'",
  );
}

function checkEnd(end: number): number {
  if (end > 0 && end < 1) return end;
  throw new InvalidArgumentError(`generate: expected end in (0, 1), got ${end}`);
}
