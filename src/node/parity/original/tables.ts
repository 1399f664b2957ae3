/** Parity of tables: schedules of Improved DDPM, sigma grids of EDM, scalings of consistency models. */
import type { Directory } from '../../../loading/directory.ts';
import { consistencyScalings, edmScalings, sigmaGrid, type Discretization } from '../../../sampler/edm/index.ts';
import { namedSchedule } from '../../../sampler/iddpm/process.ts';
import { posteriorTables, respacedSchedule, respacedTimesteps } from '../../../sampler/iddpm/respacing.ts';
import { karrasSigmas } from '../../../sampler/kdiffusion/index.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

type Named = 'linear' | 'cosine';

export { namedSchedule };

interface ScheduleConfig {
  schedules: [Named, number][];
  respacings: [number, string | number[]][];
  respaced_betas: [Named, number, string | number[]][];
}

/** β, ᾱ, posteriors and respacings. */
export async function runIddpmSchedules(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<ScheduleConfig>(dir);
  const { schedules, respacings, respaced_betas } = recording.config;
  for (const [name, n] of schedules) {
    const schedule = namedSchedule(name, n);
    const { variance, logVarianceClipped, meanX0, meanXt } = posteriorTables(schedule);
    const tables = {
      betas: schedule.betas,
      alphas_cumprod: schedule.alphasCumprod,
      posterior_variance: variance,
      posterior_log_variance_clipped: logVarianceClipped,
      posterior_mean_coef1: meanX0,
      posterior_mean_coef2: meanXt,
    };
    for (const [key, values] of Object.entries(tables))
      if (recording.has(`out.${name}${n}.${key}`)) recording.compare(`${name}${n}.${key}`, values);
  }
  respacings.forEach(([n, sections], i) => recording.same(`respacing${i}`, respacedTimesteps(n, sections)));
  respaced_betas.forEach(([name, n, sections], i) => {
    const timesteps = respacedTimesteps(n, sections);
    recording.same(`respaced${i}.timestep_map`, timesteps);
    recording.compare(`respaced${i}.betas`, respacedSchedule(namedSchedule(name, n), timesteps).betas);
  });
  return recording.result();
}

interface GridArguments {
  num_steps: number;
  discretization: Discretization;
  rho?: number;
  C_2?: number;
  M?: number;
}

/** The levels of every discretisation. */
export async function runSigmaGrids(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ grids: Record<string, [number, number | null, GridArguments]> }>(dir);
  for (const [name, [sigmaMin, most, kw]] of Object.entries(recording.config.grids)) {
    const { num_steps: numInferenceSteps, discretization, rho, C_2: c2, M: m } = kw;
    const sigmaMax = most ?? Infinity;
    const grid = sigmaGrid({ numInferenceSteps, discretization, sigmaMin, sigmaMax, rho, c2, m });
    // the original takes iDDPM's ᾱ in f32
    recording.compare(`${name}.sigmas`, grid, discretization === 'iddpm' ? 'F32' : undefined);
  }
  return recording.result();
}

interface ScalingsConfig {
  sigma_data: number;
  sigma_max: number;
  sigma_min: number;
  karras_grids: [number, number][];
}

/** Factors of both preconditionings, and Karras grids. */
export async function runScalings(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<ScalingsConfig>(dir);
  const { sigma_data, sigma_max: sigmaMax, sigma_min: sigmaMin, karras_grids } = recording.config;
  const sigmas = [...recording.tensor('in.sigma').data];
  const both = {
    consistency: sigmas.map((sigma) => consistencyScalings(sigma, sigma_data, sigmaMin)),
    karras: sigmas.map((sigma) => edmScalings(sigma, sigma_data)),
  };
  for (const [name, all] of Object.entries(both)) {
    recording.compare(
      `${name}.c_skip`,
      all.map((c) => c.cSkip),
    );
    recording.compare(
      `${name}.c_out`,
      all.map((c) => c.cOut),
    );
    recording.compare(
      `${name}.c_in`,
      all.map((c) => c.cIn),
    );
  }
  for (const [n, rho] of karras_grids)
    recording.compare(`sigmas${n}_rho${rho.toFixed(1)}`, karrasSigmas(n, { sigmaMin, sigmaMax, rho }));
  return recording.result();
}
