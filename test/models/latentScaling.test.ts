import { expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/index.ts';
import { latentScaling, mapLatents } from '../../src/models/latentScaling.ts';
import { expectClose, ROUNDOFF } from '../support/close.ts';
import { normals } from '../support/random.ts';

const shape = [2, 3, 1, 2];
const z = normals(1, 12);

test.each([
  ['SD', { scalingFactor: 0.18215 }, (x: number) => x * 0.18215],
  ['Flux', { scalingFactor: 0.3611, shiftFactor: 0.1159 }, (x: number) => (x - 0.1159) * 0.3611],
  [
    'per channel',
    { scalingFactor: 0.5, latentsMean: [0.1, -0.2, 3], latentsStd: [2, 4, 0.5] },
    (x: number, c: number) => ((x - [0.1, -0.2, 3][c]) * 0.5) / [2, 4, 0.5][c],
  ],
] as const)('%s: to the denoiser and back', (_, config, want) => {
  const { toDenoiser, toDecoder } = latentScaling(config);
  const scaled = mapLatents(z, shape, toDenoiser);
  expectClose(
    scaled,
    z.map((x, i) => want(x, Math.floor(i / 2) % 3)),
    16 * ROUNDOFF.f32,
  );
  expectClose(mapLatents(scaled, shape, toDecoder), z, 64 * ROUNDOFF.f32);
});

test('what does not fit', () => {
  expect(() => latentScaling({ scalingFactor: 1, latentsMean: [1] })).toThrow(InvalidArgumentError);
  const { toDecoder } = latentScaling({ scalingFactor: 1, latentsMean: [1, 2], latentsStd: [1, 2] });
  expect(() => mapLatents(z, shape, toDecoder)).toThrow(/expected latents \[B,2,h,w\]/);
  expect(() => mapLatents(z, [12], toDecoder)).toThrow(InvalidArgumentError);
});
