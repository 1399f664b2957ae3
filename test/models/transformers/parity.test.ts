/** Transformers: recorded numbers of the reference implementations. */
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { runDiTCase } from '../../../src/node/parity/ditCase.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { runFluxCase } from '../../../src/node/parity/fluxCase.ts';
import { runOriginalCase } from '../../../src/node/parity/original/index.ts';
import { runPriorCase } from '../../../src/node/parity/priorCase.ts';
import { runSD3Case } from '../../../src/node/parity/sd3Case.ts';
import { NETWORK_NORM, networkTolerance } from '../../support/close.ts';
import { adapters, isFullRun } from '../../support/gpu.ts';
import { openDevice } from '../../support/runGraph.ts';
import { fixture } from '../fixtures.ts';

const CASES = [
  ['dit_xl2', runDiTCase],
  ['dit_bf16', runDiTCase],
  ['dit_extra_geglu_affine', runDiTCase],
  ['dit_extra_left_over', runDiTCase],
  ['dit_extra_swiglu', runDiTCase],
  ['sd3', runSD3Case],
  ['sd3_extra_dual', runSD3Case],
  ['sd3_extra_computed_positions', runSD3Case],
  ['flux', runFluxCase],
  ['flux_extra_schnell', runFluxCase],
  ['flux_extra_ids', runFluxCase],
  ['prior_karlo', runPriorCase],
  ['prior_extra_several', runPriorCase],
  ['prior_extra_text_as_is', runPriorCase],
  ['prior_extra_mask', runPriorCase],
  ['prior_extra_padded_positions', runPriorCase],
] as const;

const ORIGINAL = [
  'a-dit-forward',
  'a-dit-forward-nosigma',
  'a-dit-forward-with-cfg',
  'a-dit-ddim-eta',
  'a-dit-ddim-eta0',
  'a-dit-ddim-reverse',
  'a-dit-ddpm-cfg',
  'a-dit-ddpm-clip',
  'a-dit-ddpm-cosine',
];

const root = pathDirectory(fileURLToPath(new URL('../../fixtures/original/', import.meta.url)));

describe.each(adapters())('recorded transformers on %s', (adapter) => {
  // lavapipe takes a second for each new pipeline: there the extra cases are for the full run.
  const few = adapter !== 'swiftshader' && !isFullRun;

  test.each(CASES.filter(([name]) => !few || !name.includes('_extra_')))('%s', async (name, run) => {
    const worst = await run(await openDevice(adapter), fixture(name), 'f32');
    if (process.env.SHOW) console.log(adapter, name, worst);
    // Outputs are of magnitude one and more.
    expect(worst).toBeLessThan(NETWORK_NORM);
  });

  test.each(ORIGINAL.filter((name) => !few || name.includes('forward')))('%s', async (name) => {
    const device = () => openDevice(adapter);
    const { error, tolerance } = await runOriginalCase(root.folder(name), { root, name, device, dtype: 'f32' });
    expect(error).toBeLessThanOrEqual(tolerance);
  });

  test.each(['dit_xl2', 'flux'])('%s with activations and weights in halves', async (name) => {
    const [, run] = CASES.find(([n]) => n === name)!;
    const worst = await run(await openDevice(adapter), fixture(name), 'f16');
    if (process.env.SHOW) console.log(adapter, name, 'halves', worst);
    expect(worst).toBeLessThan(networkTolerance('f16', 16, 6));
    // Were it as good as f32, the halves would not have been used.
    expect(worst).toBeGreaterThan(NETWORK_NORM);
  });
});
