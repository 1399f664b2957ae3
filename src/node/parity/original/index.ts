/** Cases recorded from original research code: which function of ours a recorded call is held against. */
import { UnsupportedError } from '../../../engine/errors.ts';
import type { Directory } from '../../../loading/directory.ts';
import { parsePythonJson } from '../../../loading/json.ts';
import { runAdmForward, runAdmSample } from './adm.ts';
import { runAnalyticSampler, runAnalyticTrajectories } from './analytic.ts';
import { runKSparse, runMlpVae, runTdVae, runVanillaVae } from './autoencoders.ts';
import { runIddpmSteps } from './bound.ts';
import { runAdmClassifier } from './classifier.ts';
import { runConsistencyDenoise, runConsistencySample } from './consistency.ts';
import { runConsistencyEdit } from './consistencyEdit.ts';
import { runDiTDdim, runDiTDdpm, runDiTForward, runDiTGuided, runDiTInversion } from './dit.ts';
import { runDpmConvergence, runDpmSchedules, runDpmSolver } from './dpmSolver.ts';
import { runEdmForward, runEdmSampler } from './edm.ts';
import { runExact, runKDiffusionLikelihood } from './exact.ts';
import { runKDiffusionExternal } from './external.ts';
import { runIddpmBound, runIddpmLosses } from './iddpm.ts';
import { runKDiffusionSampler, runKDiffusionSigmas } from './kdiffusion.ts';
import { runPixelSnail } from './pixelSnail.ts';
import type { CaseResult } from './recorded.ts';
import {
  runNcsnppForward,
  runNcsnppLikelihood,
  runNcsnppPredictorCorrector,
  runNcsnv2Forward,
  runNcsnv2Langevin,
} from './scoreNet.ts';
import { runAnnealedLangevin, runPredictorCorrector, runSdeLikelihood, runSdeOde } from './sde.ts';
import { runIddpmSchedules, runScalings, runSigmaGrids } from './tables.ts';
import { runAntixkVqVae, runVqVae, runVqVae2 } from './vqVae.ts';
import type { NetworkCase } from './weights.ts';

type Runner = (dir: Directory) => Promise<CaseResult>;

/** Holds a case with a network against us. */
export type NetworkRunner = (c: NetworkCase) => Promise<CaseResult>;

/** By the `call` of a case's config; the first that fits. */
const RUNNERS: readonly (readonly [RegExp, Runner])[] = [
  [/^k_diffusion\.sampling\.sample_/, runKDiffusionSampler],
  [/^get_sigmas_karras\/_exponential/, runKDiffusionSigmas],
  [/^DPM_Solver\(/, runDpmSolver],
  [/^DPM_Solver\.sample\(steps=N/, runDpmConvergence],
  [/^NoiseScheduleVP\./, runDpmSchedules],
  [/get_pc_sampler/, runPredictorCorrector],
  [/get_ode_sampler/, runSdeOde],
  [/get_likelihood_fn/, runSdeLikelihood],
  [/anneal_Langevin_dynamics/, runAnnealedLangevin],
  [/^core\/inference\/sampler /, runAnalyticSampler],
  [/^_choice_steps/, runAnalyticTrajectories],
  [/^get_named_beta_schedule;/, runIddpmSchedules],
  [/^q_sample \/ q_posterior/, runIddpmSteps],
  [/^ablation_sampler \(sigma/, runSigmaGrids],
  [/^iterative_(colorization|superres)\(/, runConsistencyEdit],
  [/^get_scalings /, runScalings],
  [/^external\.DiscreteEps/, runKDiffusionExternal],
  [/^sampling\.log_likelihood\(/, runKDiffusionLikelihood],
  [/^closed forms;/, runExact],
];

/** The same for cases that come with weights. */
const NETWORK_RUNNERS: readonly (readonly [RegExp, NetworkRunner])[] = [
  [/^models\.DiT\(/, runDiTForward],
  [/^DiT\.forward_with_cfg\(/, runDiTGuided],
  [/^create_diffusion\(.*\.p_sample_loop\(/, runDiTDdpm],
  [/^create_diffusion\(.*\.ddim_sample_loop\(/, runDiTDdim],
  [/^SpacedDiffusion\.ddim_reverse_sample /, runDiTInversion],
  [/^unet\.(UNetModel|SuperResModel)\(/, runAdmForward],
  [/^unet\.EncoderUNetModel\(/, runAdmClassifier],
  [/^create_gaussian_diffusion\(.*(ddim|p)_sample_loop|^(p|ddim)_sample_loop\(SuperRes/, runAdmSample],
  [/^calc_bpd_loop\(/, runIddpmBound],
  [/^training_losses\(/, runIddpmLosses],
  [/^KarrasDenoiser\(.*\.denoise\(/, runConsistencyDenoise],
  [/^karras_sample\(/, runConsistencySample],
  [/^training\/networks\.py /, runEdmForward],
  [/^(edm|ablation)_sampler\(/, runEdmSampler],
  [/^models\/ncsnpp\.NCSNpp\(/, runNcsnppForward],
  [/get_pc_sampler\(.*NCSNpp/, runNcsnppPredictorCorrector],
  [/get_likelihood_fn\(.*NCSNpp/, runNcsnppLikelihood],
  [/^models\.ncsnv2\.NCSNv2/, runNcsnv2Forward],
  [/anneal_Langevin_dynamics\(.*NCSNv2/, runNcsnv2Langevin],
  [/^k-sparse autoencoder/, runKSparse],
  [/^MLP VAE/, runMlpVae],
  [/^models\/vanilla_vae\./, runVanillaVae],
  [/^TD_VAE:/, runTdVae],
  [/^Encoder\(stride 4\)/, runVqVae],
  [/^models\/vq_vae\./, runAntixkVqVae],
  [/^VQVAE\(\*\*config\.vq2\)/, runVqVae2],
  [/^pixelsnail\.PixelSNAIL\(/, runPixelSnail],
];

/**
 * Runs one case by what its config says was called.
 * @param network what a case with weights needs beside its folder
 * @throws UnsupportedError for a call that nothing here answers yet.
 */
export async function runOriginalCase(dir: Directory, network?: Omit<NetworkCase, 'dir'>): Promise<CaseResult> {
  const config = parsePythonJson(await dir.text('config.json'), 'config.json') as { call?: string; weights?: object };
  const { call = '', weights = {} } = config;
  const unknown = () => new UnsupportedError(`expected a call that is built, got ${call}`);
  if (Object.keys(weights).length > 0) {
    const run = NETWORK_RUNNERS.find(([pattern]) => pattern.test(call))?.[1];
    if (!run || !network) throw unknown();
    return run({ dir, ...network });
  }
  const run = RUNNERS.find(([pattern]) => pattern.test(call))?.[1];
  if (!run) throw unknown();
  return run(dir);
}
