import { describe, expect, test } from 'vitest';
import { HostSpace } from '../../../src/sampler/hostVec.ts';
import * as k from '../../../src/sampler/kdiffusion/index.ts';
import { runKDiffusionExternal } from '../../../src/node/parity/original/external.ts';
import { runKDiffusionSampler, runKDiffusionSigmas } from '../../../src/node/parity/original/kdiffusion.ts';
import { caseNames, expectCase, openCase, spoilt } from './cases.ts';

/** The part of the config that is spoilt below. */
interface Config {
  config: { sigmas: { sigma_max: number; n: number }; gmm: { means: number[][] } };
}

describe('recorded from k-diffusion', () => {
  test.each(caseNames(/^i-k-(ode|sde)-/))('%s', (name) => expectCase(runKDiffusionSampler, name));

  test('wrappers of discrete models', () => expectCase(runKDiffusionExternal, 'i-k-external'));

  test('sigma grids', () => expectCase(runKDiffusionSigmas, 'i-k-sigmas'));

  test.each([
    ['another grid', (c: Config) => (c.config.sigmas.sigma_max *= 1.001)],
    ['another step', (c: Config) => (c.config.sigmas.n += 1)],
    ['another denoiser', (c: Config) => (c.config.gmm.means[0][0] += 0.001)],
  ])('%s is seen', async (_what, change) => {
    const { error, tolerance } = await runKDiffusionSampler(spoilt<Config>(openCase('i-k-ode-dpmpp_2m'), change));
    expect(error).toBeGreaterThan(tolerance);
  });
});

describe('bad input is refused by name', () => {
  const space = new HostSpace('f64');
  test.each([
    ['sigmas out of order', () => k.veTransitions([1, 2, 0]), /got 2 at index 1/],
    ['a sigma that is no number', () => k.lms([1, NaN, 0]), /got NaN at index 1/],
    ['one sigma', () => k.dpmpp2m([1]), /two or more/],
    ['no steps', () => k.karrasSigmas(0, { sigmaMin: 0.1, sigmaMax: 1 }), /n ≥ 1/],
    ['sigmaMin 0', () => k.exponentialSigmas(3, { sigmaMin: 0, sigmaMax: 1 }), /0 < smallest/],
    ['eta below 0', () => k.eulerAncestral({ eta: -1 }), /eta ≥ 0/],
    ['churn below 0', () => k.heun({ sChurn: -1 }), /sChurn/],
    ['churn of no steps', () => k.heun({ sChurn: 1, numInferenceSteps: 0 }), /numInferenceSteps ≥ 1/],
    ['order 0', () => k.lms([1, 0], { order: 0 }), /order in 1 … 6/],
    ['r 0', () => k.dpmppSde({ r: 0 }), /r in \(0, 1\]/],
    ['two evaluations', () => k.dpmFastPlan(2, { sigmaMin: 0.1, sigmaMax: 1 }), /3 or more/],
  ])('%s', (_what, call, message) => expect(call).toThrow(message));

  test('an adaptive run with eta and no noise', async () => {
    const denoiser = (): never => expect.unreachable();
    const run = k.dpmAdaptive({ x: space.vec([1]), denoiser, sigmaMin: 0.1, sigmaMax: 1, eta: 1 });
    await expect(run).rejects.toThrow(/expected noise/);
  });
});
