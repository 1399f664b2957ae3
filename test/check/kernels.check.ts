/** Every kernel in every storage form and variant compiles, on Dawn's null backend: WGSL validation without a driver. */
import { describe, expect, it } from 'vitest';
import { Device, specialise, tunableCombinations, type Kernel, type StorageModule } from '../../src/engine/index.ts';
import * as kernels from '../../src/kernels/index.ts';
import { openGpu } from '../../src/node/adapter.ts';
import { pairwise } from '../support/random.ts';

const all = Object.values(kernels).filter((k): k is Kernel => typeof k === 'object' && k !== null && 'shader' in k);

describe.each(all.map((k) => [k.name, k] as const))('%s', (_, kernel) => {
  const storages: StorageModule[] = kernel.shader.storage ? ['f32', 'f16', 'packed'] : ['f32'];

  it.each(storages)('compiles every variant with %s storage', async (storage) => {
    const { gpu } = await openGpu({ adapter: 'null' });
    const device = await Device.open({ gpu });
    // What the null backend lacks would hide variants: pretend to every width of subgroups that a kernel knows.
    const widths = [0, 4, 8].map((subgroupSize) => ({ ...device.caps, f16: true, subgroupSize }));
    const product = Object.values(kernel.tunables).reduce((n, values) => n * values.length, 1);
    const found = widths.flatMap((caps) =>
      product <= 2000
        ? tunableCombinations(kernel, caps)
        : pairwise(kernel.tunables).filter((t) => kernel.valid?.(t as Record<string, number>, caps) ?? true),
    );
    const variants = [...new Map(found.map((t) => [JSON.stringify(t), t])).values()];
    expect(variants.length).toBeGreaterThan(0);
    for (const tunables of variants) {
      await device.pipelines.get(
        specialise(kernel.shader, storage, tunables),
        kernel.shader.bindings,
        `${kernel.name} ${storage} ${JSON.stringify(tunables)}`,
      );
    }
    device.dispose();
  });
});

it('finds the kernels', () => {
  expect(all.length).toBeGreaterThan(3);
});
