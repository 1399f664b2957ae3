import { describe, expect, test } from 'vitest';
import { runIddpmSteps } from '../../../src/node/parity/original/bound.ts';
import { runIddpmSchedules, runScalings, runSigmaGrids } from '../../../src/node/parity/original/tables.ts';
import { sigmaGrid } from '../../../src/sampler/edm/index.ts';
import { respacedTimesteps } from '../../../src/sampler/iddpm/respacing.ts';
import { expectCase, openCase, spoilt } from './cases.ts';

describe('recorded tables', () => {
  test('schedules of Improved DDPM', () => expectCase(runIddpmSchedules, 'c-iddpm-schedules'));
  test('steps and bounds of Improved DDPM', () => expectCase(runIddpmSteps, 'c-iddpm-steps'));
  test('sigma grids of EDM', () => expectCase(runSigmaGrids, 'd-sigma-grids'));
  test('scalings of consistency models', () => expectCase(runScalings, 'h-cm-scalings'));

  test('another deviation of the data is seen', async () => {
    const change = (c: { config: { sigma_data: number } }): void => void (c.config.sigma_data += 1e-4);
    const { error, tolerance } = await runScalings(spoilt(openCase('h-cm-scalings'), change));
    expect(error).toBeGreaterThan(tolerance);
  });
});

describe('bad input is refused by name', () => {
  test.each([
    ['one step', () => sigmaGrid({ numInferenceSteps: 1 }), /2 or more steps/],
    ['a section too small', () => respacedTimesteps(10, [11]), /1 … 10 of a section/],
    ['a stride that does not exist', () => respacedTimesteps(10, 'ddim7'), /some stride/],
  ])('%s', (_what, call, message) => expect(call).toThrow(message));
});
