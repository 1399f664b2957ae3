import { describe, expect, test } from 'vitest';
import { InvalidArgumentError, ShapeError } from '../../../src/engine/errors.ts';
import {
  brightnessReplacement,
  consistencyEdit,
  maskReplacement,
  patchMeanReplacement,
  type Replacement,
} from '../../../src/sampler/editing/consistencyEdit.ts';
import {
  HostSpace,
  LinearForm,
  parameterise,
  runSolver,
  TorchGenerator,
  veLevel,
  type HostVec,
} from '../../../src/sampler/index.ts';
import { expectClose, F64 } from '../../support/close.ts';
import { PoisonSpace } from '../poisonSpace.ts';

const space = new HostSpace('f64');
const randn = (n: number, seed: number): number[] => [...new TorchGenerator(seed).randn(n)];
const sum = (values: ArrayLike<number>, at: readonly number[]): number => at.reduce((s, i) => s + values[i], 0);

describe('what is known is put back', () => {
  const shape = [3, 4, 6] as const;
  const size = 3 * 4 * 6;
  const known = space.vec(randn(2 * size, 1), 2);
  const x0 = space.vec(randn(2 * size, 2), 2);
  const edited = (replace: Replacement): HostVec => LinearForm.of(replace(x0)).materialise() as HostVec;

  test('brightness of the known picture, colours of the other, in every item', () => {
    const out = edited(brightnessReplacement(known, shape));
    const weights = [0.2989, 0.587, 0.114];
    const brightness = (v: HostVec, b: number, pixel: number): number =>
      weights.reduce((s, w, c) => s + w * v.data[b * size + c * 24 + pixel], 0);
    for (let b = 0; b < 2; b++)
      for (let pixel = 0; pixel < 24; pixel++) {
        expectClose([brightness(out, b, pixel)], [brightness(known, b, pixel)], F64);
        // Across the direction of brightness nothing moves: (1, 0, −w₀/w₂) is at right angles to it.
        const colour = (v: HostVec): number =>
          v.data[b * size + pixel] - (weights[0] / weights[2]) * v.data[b * size + 48 + pixel];
        expectClose([colour(out)], [colour(x0)], F64 * 10);
      }
  });

  test('means of patches of the known picture, details of the other', () => {
    const out = edited(patchMeanReplacement(known, shape, 2));
    for (const corner of [0, 4, 12, 24, 2 * 24 + 16, size + 14]) {
      const patch = [corner, corner + 1, corner + 6, corner + 7];
      expectClose([sum(out.data, patch)], [sum(known.data, patch)], F64);
      expectClose([out.data[corner] - out.data[corner + 7]], [x0.data[corner] - x0.data[corner + 7]], F64);
    }
  });

  test('a mask keeps the known picture to the bit in the end', async () => {
    const mask = space.vec(
      Array.from({ length: 2 * size }, (_, i) => Number(i % 3 === 0)),
      2,
    );
    const out = (await runSolver({
      x: x0,
      denoiser: parameterise((x) => x, 'sample'),
      solver: consistencyEdit({ replace: maskReplacement(known, mask) }),
      transitions: [80, 10, 0.002].slice(1).map((s, i) => ({ from: veLevel(i, [80, 10][i]), to: veLevel(i + 1, s) })),
      generator: new TorchGenerator(3),
    })) as HostVec;
    for (let i = 0; i < out.data.length; i += 3) expect(out.data[i]).toBe(known.data[i]);
    expect(out.data[1]).not.toBe(known.data[1]);
  });

  test('nothing is used after its step', async () => {
    const on = async (on: HostSpace): Promise<ArrayLike<number>> => {
      const [start, picture] = [on.vec(x0.data, 2), on.vec(known.data, 2)];
      const solver = consistencyEdit({ replace: patchMeanReplacement(picture, shape, 2) });
      const levels = [80, 10, 1, 0.002].map((sigma, i) => veLevel(i, sigma));
      const transitions = levels.slice(1).map((to, i) => ({ from: levels[i], to }));
      const denoiser = parameterise((v) => v, 'sample');
      const out = await runSolver({ x: start, denoiser, solver, transitions, generator: new TorchGenerator(3) });
      return (out as HostVec).data;
    };
    expectClose(await on(new PoisonSpace('f64')), await on(new HostSpace('f64')), 0);
  });

  test.each([
    ['gray', () => brightnessReplacement(known, [1, 12, 6]), /3 channels/],
    ['a patch that does not fit', () => patchMeanReplacement(known, shape, 4), /divides 3 × 4 × 6/],
    ['half a pixel', () => patchMeanReplacement(known, shape, 0.5), /divides 3 × 4 × 6/],
    ['sigmaMin below 0', () => consistencyEdit({ replace: (x) => x, sigmaMin: -1 }), /sigmaMin ≥ 0/],
  ])('%s is refused', (_what, call, message) => {
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  });

  test('pictures of another shape are refused', () => {
    expect(() => maskReplacement(known, space.vec([1]))(x0)).toThrow(ShapeError);
    expect(() => brightnessReplacement(known, [3, 4, 5])).toThrow(ShapeError);
    expect(() => patchMeanReplacement(known, [3, 4, 5], 1)).toThrow(/72 elements per item/);
  });
});
