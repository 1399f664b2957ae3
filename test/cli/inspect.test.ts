import { join } from 'node:path';
import { expect, test } from 'vitest';
import { inspectCommand } from '../../src/node/cli/inspect.ts';
import { packageRoot } from '../../src/node/setup/cacheFolder.ts';
import { listener } from './listener.ts';

const fixtures = join(packageRoot(), 'test', 'fixtures');
const options = { batch: 1, dtype: 'f32', keys: false } as const;

test('a component: parameters, types and plan, without a GPU', async () => {
  const terminal = listener();
  expect(await inspectCommand(join(fixtures, 'unet2d_class_f16'), options, terminal)).toBe(0);
  const text = terminal.results.join('\n');
  expect(text).toMatch(/model: UNet2DModel +[\d.]+ k ?parameters in \d+ tensors, [\d.]+ MB of F16/);
  expect(text).toMatch(/plan for 1 picture of \d+×\d+ in f32/);
  expect(text).toMatch(/\d+ dispatches, [\d.]+ \wFLOP, weights [\d.]+ MB, activations [\d.]+ MB \(1\.\d\d ×/);
  expect(text).not.toMatch(/tensors of/);
});

test('keys lists every tensor with its type and shape', async () => {
  const terminal = listener();
  await inspectCommand(join(fixtures, 'vae_kl_eps_f16'), { ...options, keys: true }, terminal);
  const from = terminal.results.indexOf('tensors of model');
  expect(from).toBeGreaterThan(0);
  const counted = Number(/in (\d+) tensors/.exec(terminal.results.join('\n'))![1]);
  expect(terminal.results.length - from - 1).toBe(counted);
  expect(terminal.results.join('\n')).toMatch(/decoder\.conv_in\.weight +F16 \[\d+, \d+, 3, 3\]/);
});

test('a size that does not divide, and a folder that is none', async () => {
  const vae = join(fixtures, 'vae_kl_eps_f16');
  await expect(inspectCommand(vae, { ...options, width: 33 }, listener())).rejects.toThrow(/multiples of \d+, got 33×/);
  await expect(inspectCommand(join(fixtures, 'nothing'), options, listener())).rejects.toThrow(/nothing/);
});
