/** One stage of guided-diffusion: a network, its process, and how it is sampled. */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { AdmFlags } from '../../models/adm/admFlags.ts';
import type { AdmCall } from '../../models/adm/admModel.ts';
import type { AdmUNet } from '../../models/adm/admModel.ts';
import type { AdmClassifier } from '../../models/classifier/classifierModel.ts';
import {
  classifierGuided,
  classifierMeanShift,
  type LogProbGradient,
} from '../../sampler/guidance/classifierGuidance.ts';
import { clipped, consistentEps } from '../../sampler/parameterisation/clip.ts';
import { ddim } from '../../sampler/solvers/ddim.ts';
import { ddpm } from '../../sampler/solvers/ddpm.ts';
import { parameterise, type Denoiser } from '../../sampler/parameterisation/denoiser.ts';
import { gaussianProcess, type GaussianProcess } from '../../sampler/iddpm/process.ts';
import { runSolver } from '../../sampler/loop.ts';
import type { SampleOptions } from '../../sampler/diffusers/samplerFrom.ts';
import type { Solver } from '../../sampler/solver.ts';
import { admNetwork, classifierGradient } from './onGpu.ts';
import type { AdmOptions } from './options.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import type { LatentShape } from '../run/latents.ts';

/** What a stage runs with. */
export interface AdmStageRun {
  unet: AdmUNet;
  flags: AdmFlags;
  shape: LatentShape;
  /** A class per picture, where the network or the classifier wants one. */
  classLabels?: readonly number[];
  /** Who guides, and how much. */
  guide?: { classifier: AdmClassifier; scale: number };
  /** Small pictures of a network that enlarges. */
  lowRes?: { data: Float32Array; shape: readonly number[] };
  /** What the network's calls take beside their inputs. */
  call: Pick<AdmCall, 'checkFinite' | 'onProgress'>;
  method: { sampler: 'ddpm' | 'ddim'; eta: number; clipDenoised: boolean };
  process: GaussianProcess;
}

/** The process with the timesteps that a call keeps. @throws InvalidArgumentError */
export function processOf(
  { diffusion }: AdmFlags,
  { timesteps, timestepRespacing, numInferenceSteps }: AdmOptions,
): GaussianProcess {
  if (timesteps) return gaussianProcess(diffusion, [...timesteps].reverse());
  const counts = timestepRespacing ?? (numInferenceSteps === undefined ? undefined : [numInferenceSteps]);
  return gaussianProcess(counts === undefined ? diffusion : { ...diffusion, timestep_respacing: counts });
}

/** How steps are made. @throws InvalidArgumentError */
export function methodOf(options: AdmOptions, { calls }: AdmFlags): AdmStageRun['method'] {
  const { sampler = calls.useDdim ? 'ddim' : 'ddpm', eta = 0, clipDenoised = calls.clipDenoised ?? true } = options;
  if (sampler !== 'ddpm' && sampler !== 'ddim') {
    throw new InvalidArgumentError(`generate: expected sampler ddpm or ddim, got ${String(sampler)}`);
  }
  if (sampler === 'ddpm' && options.eta !== undefined) {
    throw new InvalidArgumentError("generate: expected no eta with ddpm, whose noise is its own; take sampler: 'ddim'");
  }
  return { sampler, eta, clipDenoised };
}

/** The network as a denoiser; the gradient of ddim's guidance is in it. Nothing is read back. */
export function stageDenoiser(space: GpuSpace, run: AdmStageRun): Denoiser {
  const { unet, shape, classLabels, lowRes, method, call } = run;
  const conditions = {
    shape,
    ...call,
    classLabels: unet.config.numClasses === null ? undefined : classLabels,
    lowRes: lowRes && {
      data: space.contiguous(space.vec(lowRes.data, lowRes.shape[0])).buffer,
      shape: lowRes.shape,
    },
  };
  const plain = parameterise(admNetwork(space, unet, conditions), run.process.prediction);
  const seen = method.clipDenoised ? clipped(plain) : plain;
  if (method.sampler === 'ddpm') return seen;
  const exact = consistentEps(seen);
  const gradient = gradientOf(space, run);
  return gradient ? classifierGuided(exact, gradient.of, gradient.scale) : exact;
}

/** Steps of the stage; the gradient of ddpm's guidance moves their means. */
export function stageSampler(run: AdmStageRun): { sample(options: SampleOptions): ReturnType<typeof runSolver> } {
  const { method, process } = run;
  return {
    sample: (options) => {
      const solver = method.sampler === 'ddim' ? ddim({ eta: method.eta }) : shifted(options.x.space as GpuSpace, run);
      return runSolver({ ...options, solver, transitions: process.transitions });
    },
  };
}

function shifted(space: GpuSpace, run: AdmStageRun): Solver {
  const { varianceType } = run.process;
  const solver = ddpm({ varianceType });
  const gradient = gradientOf(space, run);
  if (!gradient) return solver;
  return classifierMeanShift(solver, { gradient: gradient.of, scale: gradient.scale, varianceType });
}

function gradientOf(space: GpuSpace, run: AdmStageRun): { of: LogProbGradient; scale: number } | undefined {
  const { guide, shape, classLabels = [], call } = run;
  return (
    guide && { of: classifierGradient(space, guide.classifier, { shape, classLabels, ...call }), scale: guide.scale }
  );
}
