/** Merged weights depend on the network, not on what it is called with: no call brings the weights once more. */
import { expect, test } from 'vitest';
import { DiT } from '../../src/models/transformers/ditModel.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice } from '../support/runGraph.ts';
import { fixture } from './fixtures.ts';

test('calls of any batch and size share the weights that loading brought', async () => {
  const device = await openDevice(adapters()[0]);
  const model = await DiT.load(device, fixture('dit_xl2'));
  const before = model.weightBytes;
  const { inChannels: C } = model.config;
  for (const [B, side] of [
    [1, 8],
    [3, 12],
  ]) {
    const shape = [B, C, side, side];
    const sample = { shape, data: normals(1, B * C * side * side) };
    const classLabels = Array.from({ length: B }, (_, i) => i);
    const out = await model.forward({ sample, timestep: 10, classLabels });
    expect((await out.read()).every(Number.isFinite)).toBe(true);
    expect(model.weightBytes).toBe(before);
  }
  model.dispose();
});
