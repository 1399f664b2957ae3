import { describe, expect, test } from 'vitest';
import { runExact, runKDiffusionLikelihood } from '../../../src/node/parity/original/exact.ts';
import { caseNames, expectCase, openCase, spoilt } from './cases.ts';

describe('a mixture of Gaussians', () => {
  test.each(caseNames(/^k-exact-/))('%s', (name) => expectCase(runExact, name));
  test('log-likelihood of k-diffusion', () => expectCase(runKDiffusionLikelihood, 'i-k-log-likelihood'));

  test('another smallest sigma is seen', async () => {
    const change = (c: { config: { sigma_min: number } }): void => void (c.config.sigma_min *= 1.01);
    const { error, tolerance } = await runKDiffusionLikelihood(spoilt(openCase('i-k-log-likelihood'), change));
    expect(error).toBeGreaterThan(tolerance);
  });
});
