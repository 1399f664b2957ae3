/** The reference implementations' recorded outputs, through the same code as `npm run parity`. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { runParity } from '../../src/node/parity/run.ts';
import { fixturesPath } from '../models/fixtures.ts';
import { networkTolerance } from '../support/close.ts';
import { adapters, isFullRun } from '../support/gpu.ts';
import { openDevice } from '../support/runGraph.ts';

const { cases } = JSON.parse(readFileSync(join(fixturesPath, 'manifest.json'), 'utf8')) as {
  cases: Record<string, { kind: string; outputs?: Record<string, { max_abs: number }> }>;
};
// The other kinds have tests of their own, beside the models that they are of.
const names = Object.keys(cases).filter((name) => ['unet2d', 'vae_kl'].includes(cases[name].kind));

describe.each(adapters())('recorded models on %s', async (adapter) => {
  // One device for all: pipelines that two models share compile once.
  const device = await openDevice(adapter);
  const quiet = { log: () => {}, adapter, device };

  // lavapipe takes a second for each new pipeline: there the extra cases are for the full run.
  const chosen = names.filter((name) => adapter === 'swiftshader' || isFullRun || !name.includes('_extra_'));

  test.each(chosen)('%s', async (only) => {
    const { results, failed } = await runParity(fixturesPath, { ...quiet, only });
    if (process.env.SHOW) console.log(adapter, results);
    expect(results).toHaveLength(1);
    expect(failed, JSON.stringify(results)).toBe(0);
  });

  const halved = isFullRun ? names.filter((name) => cases[name].outputs) : ['unet2d_ddpm_cifar', 'vae_kl_sd'];
  test.each(halved)('%s with activations and weights in halves', async (only) => {
    const { results } = await runParity(fixturesPath, { ...quiet, only, dtype: 'f16' });
    const largest = Math.max(...Object.values(cases[only].outputs!).map((out) => out.max_abs));
    expect(results[0].error).toBeLessThan(networkTolerance('f16', 16, largest));
    // Were it as good as f32, the halves would not have been used.
    expect(results[0].error).toBeGreaterThan(networkTolerance('f32', 16, largest));
  });
});
