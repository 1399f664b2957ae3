/**
 * Recorded from diffusers: timesteps and sigmas of `set_timesteps`, and whole runs, for options the other fixtures
 * leave out.
 */
import { readFileSync } from 'node:fs';
import { describe, test } from 'vitest';
import {
  HostSpace,
  NoiseSchedule,
  samplerFrom,
  TorchGenerator,
  type BetaSchedule,
  type HostVec,
  type Network,
  type SolverOptions,
  type StepChoice,
} from '../../../src/sampler/index.ts';
import { expectClose, ROUNDOFF, SCHEDULER_RUN } from '../../support/close.ts';

interface Recorded {
  steps: {
    config: Record<string, unknown>;
    choice: StepChoice;
    timesteps: number[];
    sigmas?: number[];
    initNoiseSigma?: number;
  }[];
  runs: { config: Record<string, unknown>; choice: StepChoice; options?: SolverOptions; x: number[] }[];
  betas: { beta_schedule: BetaSchedule; at: number[]; betas: number[]; alphas_cumprod: number[] }[];
}

const recorded = JSON.parse(
  readFileSync(new URL('../../fixtures/scheduler_steps.json', import.meta.url), 'utf8'),
) as Recorded;

/** Recorded in f32: a logarithm, an exponential and an interpolation, each of up to a thousand. */
const relative = (values: readonly number[], roundings: number): number[] =>
  values.map((v) => roundings * ROUNDOFF.f32 * Math.max(Math.abs(v), 1));

describe('steps as the reference library places them', () => {
  test.each(
    recorded.steps.map((c) => [c.config._class_name, JSON.stringify({ ...c.config, ...c.choice }), c] as const),
  )('%s %s', (_name, _what, { config, choice, timesteps, sigmas, initNoiseSigma }) => {
    const sampler = samplerFrom(config);
    expectClose(sampler.timesteps(choice), timesteps, relative(timesteps, 64));
    if (initNoiseSigma !== undefined)
      expectClose([sampler.initNoiseSigma(choice)], [initNoiseSigma], relative([initNoiseSigma], 64));
    if (!sigmas) return;
    const transitions = sampler.transitions(choice);
    const got = [...transitions.map(({ from }) => from.sigma), transitions[transitions.length - 1].to.sigma];
    // log_linear lists one sigma more than its steps reach.
    const want = sigmas.slice(0, got.length);
    expectClose(got, want, relative(want, 64));
  });
});

describe('betas', () => {
  test.each(recorded.betas)('$beta_schedule', ({ beta_schedule, at, betas, alphas_cumprod }) => {
    const schedule = new NoiseSchedule({ betaSchedule: beta_schedule });
    expectClose(
      at.map((t) => schedule.betas[t]),
      betas,
      relative(betas, 1),
    );
    expectClose(
      at.map((t) => schedule.alphasCumprod[t]),
      alphas_cumprod,
      relative(alphas_cumprod, 1),
    );
  });
});

describe('whole runs', () => {
  const space = new HostSpace();
  const network: Network = (x, t) =>
    space.vec(Array.from((x as HostVec).data, (v) => Math.fround(0.9 * Math.tanh(0.7 * v + Math.sin(t / 100)))));

  test.each(recorded.runs.map((c) => [JSON.stringify({ ...c.config, ...c.choice, ...c.options }), c] as const))(
    '%s',
    async (_what, { config, choice, options, x }) => {
      const sampler = samplerFrom(config);
      const start = space.vec(new TorchGenerator(5).randn(x.length));
      const generator = new TorchGenerator(1);
      const denoiser = sampler.denoiser(network);
      const got = (await sampler.sample({ denoiser, x: start, generator, ...choice, ...options })) as HostVec;
      expectClose(got.data, x, SCHEDULER_RUN * Math.max(1, ...x.map(Math.abs)));
    },
  );
});
