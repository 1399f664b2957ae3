import { expect, test } from 'vitest';
import { ShapeError } from '../../src/engine/index.ts';
import { DiagonalGaussian } from '../../src/models/index.ts';
import { angleTolerance, expectClose } from '../support/close.ts';

const LN4 = 1.3862943611198906;

// Two items of one latent channel and two cells: [mean, mean, logvar, logvar] each.
const moments = Float32Array.of(1, 2, LN4, -100, 3, 4, 0, 100);
const posterior = new DiagonalGaussian(moments, [2, 2, 1, 2]);

test('means and log variances are taken apart item by item, the latter clamped', () => {
  expect(posterior.shape).toEqual([2, 1, 1, 2]);
  expect([...posterior.mean]).toEqual([1, 2, 3, 4]);
  expect([...posterior.logvar]).toEqual([Math.fround(LN4), -30, 0, 20]);
  expect(posterior.mode()).toBe(posterior.mean);
});

test('a sample is mean + std·noise', () => {
  const { std } = posterior;
  expect(std[2]).toBe(1);
  expectClose([std[0]], [2], angleTolerance(2));
  expect([...posterior.sample([0, 0, 0, 0])]).toEqual([1, 2, 3, 4]);
  expect(posterior.sample([1, 0, -2, 0])[2]).toBe(1);
});

test('shapes that do not fit', () => {
  expect(() => new DiagonalGaussian(moments, [2, 3, 1, 2])).toThrow(ShapeError);
  expect(() => new DiagonalGaussian(moments, [1, 2, 1, 2])).toThrow(ShapeError);
  expect(() => posterior.sample([1])).toThrow(ShapeError);
});
