import { describe, expect, test } from 'vitest';
import * as dpm from '../../../src/sampler/dpmSolver/index.ts';
import { HostSpace, type HostVec } from '../../../src/sampler/hostVec.ts';
import { runSolver } from '../../../src/sampler/loop.ts';
import { runDpmConvergence, runDpmSchedules, runDpmSolver } from '../../../src/node/parity/original/dpmSolver.ts';
import { mixtureDenoiser, type Mixture } from '../../../src/node/parity/original/mixture.ts';
import { OriginalCase } from '../../../src/node/parity/original/recorded.ts';
import { ORDER_SLOPE } from '../../support/close.ts';
import { caseNames, expectCase, openCase, spoilt } from './cases.ts';

const OTHERS = ['f-dpm-convergence', 'f-dpm-noise-schedules'];

/** The part of the config that is spoilt below. */
interface Config {
  config: { gmm: { means: number[][] }; runs: Record<string, { sample: { steps: number } }> };
}

describe("recorded from the authors' DPM-Solver", () => {
  test.each(caseNames(/^f-dpm-/).filter((name) => !OTHERS.includes(name)))('%s', (name) =>
    expectCase(runDpmSolver, name),
  );
  test('f-dpm-convergence', () => expectCase(runDpmConvergence, 'f-dpm-convergence'));
  test('f-dpm-noise-schedules', () => expectCase(runDpmSchedules, 'f-dpm-noise-schedules'));

  test.each([
    ['another model', (c: Config) => (c.config.gmm.means[0][0] += 0.001)],
    ['another step', (c: Config) => (c.config.runs['n3.ms.logSNR'].sample.steps += 1)],
  ])('%s is seen', async (_what, change) => {
    const { error, tolerance } = await runDpmSolver(spoilt<Config>(openCase('f-dpm-cosine'), change));
    expect(error).toBeGreaterThan(tolerance);
  });
});

describe('the third order of the multistep solver', () => {
  const slope = async (algorithmType: 'dpmsolver' | 'dpmsolver++', publishedThirdOrder: boolean): Promise<number> => {
    const recording = await OriginalCase.open<{ gmm: Mixture }>(openCase('f-dpm-convergence'));
    const [start, exact] = [recording.tensor('in.x_T'), recording.tensor('out.reference').data];
    const x = new HostSpace('f64').vec(start.data, start.shape[0]);
    const errors: number[] = [];
    for (const steps of [192, 384]) {
      const levels = dpm.spacedLevels(dpm.linearVp(), steps, { tEnd: 1e-3, skipType: 'logSNR' });
      const solver = dpm.dpmSolverMultistep(levels, { order: 3, algorithmType, publishedThirdOrder });
      const transitions = dpm.transitionsOf(levels);
      const end = await runSolver({ x, denoiser: mixtureDenoiser(recording.config.gmm), solver, transitions });
      errors.push(Math.max(...Array.from((end as HostVec).data, (v, i) => Math.abs(v - exact[i]))));
    }
    return Math.log2(errors[0] / errors[1]);
  };

  test.each(['dpmsolver', 'dpmsolver++'] as const)('%s: 3 as it stands, 2 as published', async (algorithm) => {
    const [corrected, published] = [await slope(algorithm, false), await slope(algorithm, true)];
    expect(corrected, `${corrected}, published ${published}`).toBeGreaterThan(3 - ORDER_SLOPE);
    expect(Math.abs(published - 2), `published ${published}`).toBeLessThan(ORDER_SLOPE);
  });
});

describe('bad input is refused by name', () => {
  const schedule = dpm.linearVp();
  const levels = dpm.spacedLevels(schedule, 4);
  test.each([
    ['β the wrong way round', () => dpm.linearVp(20, 0.1), /beta0 < beta1/],
    ['time 0', () => dpm.levelAt(schedule, 0), /no noise yet/],
    ['no steps', () => dpm.spacedTimes(schedule, 0), /steps ≥ 1/],
    ['an unknown spacing', () => dpm.spacedTimes(schedule, 4, { skipType: 'log' as never }), /logSNR/],
    ['order 4', () => dpm.dpmSolverMultistep(levels, { order: 4 as never }), /order 1, 2 or 3/],
    ['fewer steps than the order', () => dpm.dpmSolverMultistep(levels.slice(0, 3), { order: 3 }), /≤ steps/],
    ['an unknown algorithm', () => dpm.dpmSolverMultistep(levels, { algorithmType: 'x' as never }), /dpmsolver\+\+/],
    ['an unknown type', () => dpm.dpmSolverSinglestep([], { solverType: 'x' as never }), /taylor/],
  ])('%s', (_what, call, message) => expect(call).toThrow(message));
});
