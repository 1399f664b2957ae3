import { describe, expect, test } from 'vitest';
import * as a from '../../../src/sampler/analytic/index.ts';
import { runAnalyticSampler, runAnalyticTrajectories } from '../../../src/node/parity/original/analytic.ts';
import { caseNames, expectCase, openCase, spoilt } from './cases.ts';

/** The part of the config that is spoilt below. */
interface Config {
  config: { gmm: { means: number[][] }; kw: { sample_steps: number } };
}

describe('recorded from Analytic-DPM', () => {
  test.each(caseNames(/^g-analytic-dd/))('%s', (name) => expectCase(runAnalyticSampler, name));
  test('g-analytic-trajectories', () => expectCase(runAnalyticTrajectories, 'g-analytic-trajectories'));

  test('another model is seen', async () => {
    const wrong = spoilt<Config>(openCase('g-analytic-ddpm-analytic'), (c) => (c.config.gmm.means[0][0] += 0.01));
    const { error, tolerance } = await runAnalyticSampler(wrong);
    expect(error).toBeGreaterThan(tolerance);
  });
});

describe('bad input is refused by name', () => {
  test.each([
    ['more steps than there are', () => a.linearTrajectory(10, 11), /2 … 10 steps/],
    ['no edge', () => a.cheapestPath(0, 3, 0, () => 1), /1 … 3 edges/],
    ['eta below 0', () => a.analyticDpm(() => 0, { eta: -1 }), /eta ≥ 0/],
  ])('%s', (_what, call, message) => expect(call).toThrow(message));
});
