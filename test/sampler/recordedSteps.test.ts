/** Timesteps and sigmas recorded from diffusers' `set_timesteps`, for choices that no recorded run makes. */
import { readFileSync } from 'node:fs';
import { describe, test } from 'vitest';
import { NoiseSchedule, samplerFrom, type BetaSchedule, type StepChoice } from '../../src/sampler/index.ts';
import { expectClose, ROUNDOFF } from '../support/close.ts';

interface Recorded {
  steps: {
    config: Record<string, unknown>;
    choice: StepChoice;
    timesteps: number[];
    sigmas?: number[];
    initNoiseSigma?: number;
  }[];
  betas: { beta_schedule: BetaSchedule; at: number[]; betas: number[]; alphas_cumprod: number[] }[];
}

const recorded = JSON.parse(
  readFileSync(new URL('../fixtures/scheduler_steps.json', import.meta.url), 'utf8'),
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
