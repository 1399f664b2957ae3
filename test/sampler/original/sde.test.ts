import { describe, expect, test } from 'vitest';
import { HostSpace } from '../../../src/sampler/hostVec.ts';
import * as s from '../../../src/sampler/sde/index.ts';
import {
  runAnnealedLangevin,
  runPredictorCorrector,
  runSdeLikelihood,
  runSdeOde,
} from '../../../src/node/parity/original/sde.ts';
import { caseNames, expectCase, openCase, spoilt } from './cases.ts';

describe('recorded from score_sde', () => {
  test.each(caseNames(/^e-sde-pc-(sub)?v/))('%s', (name) => expectCase(runPredictorCorrector, name));
  test.each(caseNames(/^e-sde-ode-/))('%s', (name) => expectCase(runSdeOde, name));
  test.each(caseNames(/^e-sde-likelihood-(sub)?v/))('%s', (name) => expectCase(runSdeLikelihood, name));
});

test('annealed Langevin dynamics, recorded from NCSNv2', () =>
  expectCase(runAnnealedLangevin, 'e-ncsnv2-ald-analytic'));

/** The part of the config that is spoilt below. */
interface Config {
  config: { gmm: { means: number[][] }; snr: number };
}

test.each([
  ['another score', (c: Config) => (c.config.gmm.means[0][0] += 0.01)],
  ['another step size', (c: Config) => (c.config.snr *= 1.001)],
])('%s is seen', async (_what, change) => {
  const { error, tolerance } = await runPredictorCorrector(spoilt<Config>(openCase('e-sde-pc-vp-rd-langevin'), change));
  expect(error).toBeGreaterThan(tolerance);
});

describe('bad input is refused by name', () => {
  const x = new HostSpace('f64').vec([1, 2]);
  test.each([
    ['sigmas the wrong way round', () => s.veSde(50, 0.01), /smallest < largest/],
    ['no steps', () => s.vpSde(0.1, 20, 0), /steps ≥ 1/],
    ['an unknown predictor', () => s.predictorCorrector(s.vpSde(), { predictor: 'x' as never }), /reverse_diffusion/],
    ['snr below 0', () => s.predictorCorrector(s.vpSde(), { snr: -1 }), /snr ≥ 0/],
    ['ancestral sub-VP', () => s.predictorCorrector(s.subVpSde(), { predictor: 'ancestral_sampling' }), /VE or VP/],
  ])('%s', (_what, call, message) => expect(call).toThrow(message));

  test('tolerance 0', () => {
    const slope = (): never => expect.unreachable();
    return expect(s.rk45(slope, 0, 1, { x, extra: [] }, { rtol: 0 })).rejects.toThrow(/rtol, atol > 0/);
  });
});
