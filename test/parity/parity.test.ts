/** The reference implementations' recorded outputs, through the same code as `npm run parity`. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runParity } from '../../src/node/parity/run.ts';
import { adapters } from '../support/gpu.ts';

const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));
const quiet = { log: () => {}, warn: (line: string) => console.error(line) };
const models = ['unet2d_*', 'vae_kl_*'];

describe.each(adapters())('recorded models on %s', (adapter) => {
  test.each(models)('%s', async (only) => {
    const { results } = await runParity(fixtures, { ...quiet, only, adapter });
    if (process.env.SHOW) console.table(results);
    expect(results.length).toBeGreaterThan(3);
    expect(results.filter((r) => r.status !== 'pass')).toEqual([]);
  });
});
