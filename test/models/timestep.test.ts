import { expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/index.ts';
import { fourierEmbedding, sinusoidalEmbedding } from '../../src/models/index.ts';
import { angleTolerance, expectClose } from '../support/close.ts';

const TIMESTEPS = [0, 1, -37.5, 250, 321, 999, 812.25];

test.each([
  [true, 0],
  [false, 1],
  [true, 0.5],
])('sinusoids, flipped %s, shift %d', (flipSinToCos, freqShift) => {
  const got = sinusoidalEmbedding(TIMESTEPS, 8, { flipSinToCos, freqShift });
  TIMESTEPS.forEach((t, b) => {
    const angles = [0, 1, 2, 3].map((i) => t * 10000 ** (-i / (4 - freqShift)));
    const [sin, cos] = [angles.map(Math.sin), angles.map(Math.cos)];
    const want = flipSinToCos ? [...cos, ...sin] : [...sin, ...cos];
    expectClose(got.subarray(8 * b, 8 * b + 8), want, angleTolerance(Math.abs(t)), `t = ${t}`);
  });
});

test('an odd width ends in a zero, scale and period act on the angle', () => {
  const got = sinusoidalEmbedding([3], 5, { freqShift: 0, scale: 2, maxPeriod: 100 });
  expectClose(got, [Math.sin(6), Math.sin(0.6), Math.cos(6), Math.cos(0.6), 0], angleTolerance(6));
});

test('Fourier features of the logarithm', () => {
  const weight = [0.5, -16.25];
  const angles = weight.map((w) => 2 * Math.PI * w * Math.log(3.7));
  const [sin, cos] = [angles.map(Math.sin), angles.map(Math.cos)];
  const tolerance = angleTolerance(Math.max(...angles.map(Math.abs)));
  expectClose(fourierEmbedding([3.7], weight), [...sin, ...cos], tolerance);
  expectClose(fourierEmbedding([3.7], weight, { flipSinToCos: true }), [...cos, ...sin], tolerance);
});

test('angles are those of the reference library, last bits included', () => {
  // sin of 321·10⁴^(−i/7) as PyTorch computed it in f32; in exact arithmetic the second is −0.96125887.
  const recorded = [0.5291083, -0.96126026, -0.8960377, -0.08554131, 0.9957879, 0.4313854];
  const got = sinusoidalEmbedding([321], 16, { freqShift: 1 });
  expectClose(got.subarray(0, recorded.length), recorded, angleTolerance(1));
});

test('bad timesteps', () => {
  expect(() => sinusoidalEmbedding([NaN], 4)).toThrow(InvalidArgumentError);
  expect(() => sinusoidalEmbedding([1], 2, { freqShift: 1 })).toThrow(InvalidArgumentError);
  expect(() => fourierEmbedding([0], [1])).toThrow(/positive timestep/);
  expect(() => fourierEmbedding([Infinity], [1])).toThrow(InvalidArgumentError);
});
