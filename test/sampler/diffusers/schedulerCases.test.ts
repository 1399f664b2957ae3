import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parsePythonJson } from '../../../src/loading/json.ts';
import { runSchedulerCase } from '../../../src/node/parity/schedulerCase.ts';
import { HINT_FACTOR } from '../../support/close.ts';

/** The fields that are spoilt below. */
interface Run {
  config: Record<string, unknown>;
  timesteps: number[];
  initial_sample: number[];
  tol_abs_hint: number;
  add_noise: { out: number[] };
  steps: { sample: number[]; pred_original_sample: number[]; noise?: number[][] }[];
}

const folder = new URL('../../fixtures/schedulers/', import.meta.url);
const load = (name: string): Run => parsePythonJson(readFileSync(new URL(name, folder), 'utf8'), name) as Run;
const names = readdirSync(folder).filter((name) => name.endsWith('.json'));

describe('runs recorded from the reference library', () => {
  test.each(names)('%s', async (name) => {
    const run = load(name);
    const { error, tolerance } = await runSchedulerCase(run);
    expect(error).toBeLessThanOrEqual(tolerance);
    expect(tolerance).toBe(HINT_FACTOR * run.tol_abs_hint);
  });

  test('a run that starts late (t_start) is compared from there', async () => {
    const whole = load('ddpm_linear_fixed_small.json');
    const late = { ...whole, t_start: 4, initial_sample: whole.steps[3].sample, steps: whole.steps.slice(4) };
    const { error, tolerance } = await runSchedulerCase(late);
    expect(error).toBeLessThanOrEqual(tolerance);
    const wrong = await runSchedulerCase({ ...late, t_start: 3 });
    expect(wrong.error).toBeGreaterThan(tolerance);
  });

  test.each([
    ['another state', (run: Run) => (run.steps[2].sample[5] += 10 * run.tol_abs_hint)],
    ['another x₀', (run: Run) => (run.steps[2].pred_original_sample[5] += 10 * run.tol_abs_hint)],
    ['another timestep', (run: Run) => (run.timesteps[1] += 1)],
    ['another draw', (run: Run) => (run.steps[0].noise![0][0] += 1)],
    ['one draw more', (run: Run) => run.steps[0].noise!.push(run.initial_sample)],
    ['one draw less', (run: Run) => delete run.steps[0].noise],
    ['another forward process', (run: Run) => (run.add_noise.out[0] += 1)],
    ['another schedule', (run: Run) => (run.config.beta_end = 0.021)],
  ])('%s is seen', async (_what, change) => {
    const run = load('ddpm_linear_fixed_small.json');
    change(run);
    const { error, tolerance } = await runSchedulerCase(run);
    expect(error).toBeGreaterThan(tolerance);
  });
});
