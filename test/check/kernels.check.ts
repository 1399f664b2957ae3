/**
 * Every kernel in every storage form and variant compiles, on Dawn's null backend: WGSL validation without a driver.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  Device,
  specialise,
  tunableCombinations,
  type Kernel,
  type StorageModule,
} from '../../src/engine/index.ts';
import { withWritable } from '../../src/engine/writableInputs.ts';
import { attentionTileKernel, tileWays } from '../../src/kernels/attentionTiles.ts';
import { openGpu } from '../../src/node/adapter.ts';
import { pairwise } from '../support/random.ts';

const folder = fileURLToPath(new URL('../../src/kernels/', import.meta.url));
const files = readdirSync(folder);
const isKernel = (k: unknown): k is Kernel => typeof k === 'object' && k !== null && 'shader' in k;
const found = new Map<string, Kernel>();
for (const file of files.filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))) {
  const module = (await import(`${folder}${file}`)) as Record<string, unknown>;
  for (const kernel of Object.values(module).filter(isKernel)) found.set(kernel.name, kernel);
}
// What needs a feature that the null backend only has on request is compiled by a test of its own.
const textOf = ({ shader }: Kernel) => [shader.code, ...Object.values(shader.modules)].join();
const all = [...found.values()].filter((kernel) => !textOf(kernel).includes('chromium_experimental_subgroup_matrix'));

describe.each(all.map((k) => [k.name, k] as const))('%s', (_, kernel) => {
  const storages: StorageModule[] = kernel.shader.storage ? ['f32', 'f16', 'packed'] : ['f32'];

  it.each(storages)('compiles every variant with %s storage', async (storage) => {
    const { gpu } = await openGpu({ adapter: 'null' });
    const device = await Device.open({ gpu });
    // What the null backend lacks would hide variants: pretend to every width of subgroups that a kernel knows.
    const widths = [0, 4, 8, 16].map((subgroupSize) => ({ ...device.caps, f16: true, subgroupSize }));
    const product = Object.values(kernel.tunables).reduce((n, values) => n * values.length, 1);
    const made = widths.flatMap((caps) =>
      product <= 2000
        ? tunableCombinations(kernel, caps)
        : pairwise(kernel.tunables).filter((t) => kernel.valid?.(t as Record<string, number>, caps) ?? true),
    );
    const variants = [...new Map(made.map((t) => [JSON.stringify(t), t])).values()];
    expect(variants.length).toBeGreaterThan(0);
    for (const tunables of variants) {
      await device.pipelines.get(
        specialise(kernel.shader, storage, tunables),
        kernel.shader.bindings,
        `${kernel.name} ${storage} ${JSON.stringify(tunables)}`,
      );
    }
    // What reads beside its result has its inputs bound for writing, and the compiler then takes no load for uniform.
    const inputs = kernel.shader.bindings.filter((b) => b.access === 'read').map((b) => b.name);
    if (inputs.length > 0) {
      const { shader } = withWritable(kernel, inputs);
      expect(shader.bindings.filter((b) => b.access === 'read')).toEqual([]);
      await device.pipelines.get(specialise(shader, storage, variants[0]), shader.bindings, `${kernel.name} writable`);
    }
    device.dispose();
  });
});

it('compiles the tiles that attention takes for the heads of published models', async () => {
  const { gpu } = await openGpu({ adapter: 'null' });
  const device = await Device.open({ gpu });
  const { shader } = attentionTileKernel;
  for (const d of [1, 40, 64, 72, 80, 128, 160, 512]) {
    const sizes = { B: 1, T: 1024, S: 77, heads: 8, D4: Math.ceil(d / 4) };
    for (const [name, { tile }] of Object.entries(tileWays(sizes, DEFAULT_CAPABILITIES))) {
      const code = specialise(shader, 'f16', { ...tile, HAS_MASK: true, PARTS: false });
      await device.pipelines.get(code, shader.bindings, `${name} ${d}`);
    }
  }
  device.dispose();
});

it('finds the kernel of every shader', () => {
  // A canvas is drawn to by a render pipeline, which no kernel is.
  const shaders = files.filter((name) => name.endsWith('.wgsl')).map((name) => name.slice(0, -'.wgsl'.length));
  expect(shaders.filter((name) => name !== 'present' && !found.has(name))).toEqual([]);
});

it('comments of shaders keep to the width that lint asks of comments elsewhere', () => {
  const shaders = (readdirSync(folder, { recursive: true }) as string[]).filter((name) => name.endsWith('.wgsl'));
  const long = shaders.flatMap((name) =>
    readFileSync(`${folder}${name}`, 'utf8')
      .split('\n')
      .flatMap((line, i) => (line.includes('//') && [...line].length > 120 ? [`${name}:${i + 1}`] : [])),
  );
  expect(shaders.length).toBeGreaterThan(50);
  expect(long).toEqual([]);
});
