import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/engine/errors.ts';
import { CounterGenerator } from '../../../src/sampler/noise/counterNormals.ts';
import { HostSpace, samplerFrom, type SamplerState, type Vec } from '../../../src/sampler/index.ts';
import { philox } from '../../../src/sampler/noise/philox.ts';
import { PhiloxGenerator, type PhiloxOptions } from '../../../src/sampler/noise/philoxGenerator.ts';
import { expectClose, PRINTED_4, TORCH_NORMAL } from '../../support/close.ts';

test('Philox4x32-10: the known answers that its authors publish', () => {
  const answer = (counter: number[], key: [number, number]): number[] => {
    const words = Uint32Array.from(counter);
    philox(words, ...key);
    return [...words];
  };
  const ones = 0xffffffff;
  expect(answer([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  expect(answer([ones, ones, ones, ones], [ones, ones])).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  const pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  expect(answer(pi, [0xa4093822, 0x299f31d0])).toEqual([0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
});

describe('torch.randn on a GPU', () => {
  test('seed 0, twelve values', () => {
    // Printed by a user interface that imitates the GPU's stream, for shape (3, 4).
    const want = [
      ...[-0.92466259, -0.42534415, -2.6438457, 0.14518388, -0.12086647, -0.57972564],
      ...[-0.62285122, -0.32838709, -1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ];
    expectClose(new PhiloxGenerator(0).randn(12), want, TORCH_NORMAL);
  });

  test('seed 10, three values', () =>
    // github.com/pytorch/pytorch/issues/79496
    void expectClose(new PhiloxGenerator(10).randn(3), [-0.1029, 1.681, -0.2708], PRINTED_4));

  test('seed 42, four values per thread and round', () => {
    // github.com/pytorch/pytorch/issues/158398, first machine, shape (1, 64, 2048). It does not name the GPU; of all
    // grids only 168 blocks give these numbers, as an RTX 3060 has them.
    const got = new PhiloxGenerator(42, { multiprocessors: 28, threadsPerMultiprocessor: 1536 }).randn(64 * 2048);
    const row = (i: number): number[] => [0, 1, 2, 2045, 2046, 2047].map((at) => got[2048 * i + at]);
    expectClose(row(0), [0.194, 2.1614, -0.1721, 1.454, -2.7733, -0.8932], PRINTED_4);
    expectClose(row(1), [-0.4574, 0.8063, 0.158, 0.1124, 0.2769, -1.2535], PRINTED_4);
    expectClose(row(61), [-0.4861, 0.3358, 1.0578, -0.7282, 0.5087, 0.1318], PRINTED_4);
    expectClose(row(62), [0.7881, 0.8339, -1.1424, -0.6297, -1.1112, -0.4091], PRINTED_4);
    expectClose(row(63), [-1.2356, -0.4083, -0.4695, -0.4841, 1.285, -0.0282], PRINTED_4);
  });

  test.each([
    ['A100', { multiprocessors: 108 }, [0.1549, -0.6797, -0.1656]],
    ['H100', { multiprocessors: 132 }, [-0.697, -0.778, 0.3267]],
  ] as [string, PhiloxOptions, number[]][])('seed 1, nine million values on %s', (_name, gpu, end) => {
    // github.com/pytorch/pytorch/issues/143086
    const got = new PhiloxGenerator(1, gpu).randn(49 * 12 * 112 * 144);
    expectClose(got.subarray(0, 3), [-0.2963, 2.6764, -0.1408], PRINTED_4);
    expectClose(got.subarray(-3), end, PRINTED_4);
  });

  test('draws follow each other, and a state goes on from where it was taken', () => {
    const limited = { multiprocessors: 1, threadsPerMultiprocessor: 256 };
    const generator = new PhiloxGenerator(7n, limited);
    generator.randn(5000); // five rounds of 1024
    expect(generator.state).toEqual({ seed: '7', offset: 5 });
    const { state } = generator;
    const next = generator.randn(700);
    const again = new PhiloxGenerator(7, limited);
    again.state = JSON.parse(JSON.stringify(state));
    expectClose(again.randn(700), next, 0);
    expect(new PhiloxGenerator(7, limited).randn(700)).not.toEqual(next);
    expect(generator.randn(0)).toHaveLength(0);
    expect(generator.state.offset).toBe(6);
  });

  test('all of a seed counts, and a negative one is its two’s complement', () => {
    const of = (seed: number | bigint): Float32Array => new PhiloxGenerator(seed).randn(8);
    expect(of(2n ** 32n)).not.toEqual(of(0));
    expect(of(-1)).toEqual(of(2n ** 64n - 1n));
  });

  test.each([
    ['seed', () => new PhiloxGenerator(0.5), /seed that is a safe integer/],
    ['count', () => new PhiloxGenerator().randn(-1), /count in 0/],
    ['multiprocessors', () => new PhiloxGenerator(0, { multiprocessors: 0 }), /multiprocessors ≥ 1/],
    ['threads', () => new PhiloxGenerator(0, { threadsPerMultiprocessor: 100 }), /threadsPerMultiprocessor ≥ 256/],
    ['state', () => (new PhiloxGenerator(1).state = { seed: '2', offset: 0 }), /state of seed 1/],
  ])('a bad %s is refused', (_what, call, message) => {
    expect(call).toThrow(InvalidArgumentError);
    expect(call).toThrow(message);
  });
});

test.each([
  ['Philox', () => new PhiloxGenerator(5)],
  ['by number', () => new CounterGenerator(5)],
  ['one per item', () => [new PhiloxGenerator(5), new CounterGenerator(6)]],
])('%s: a run resumed from any state ends in the same bits', async (_name, make) => {
  const space = new HostSpace();
  const sampler = samplerFrom({ _class_name: 'EulerAncestralDiscreteScheduler' });
  const x = space.vec(new PhiloxGenerator(1).randn(12), 2);
  const states: SamplerState[] = [];
  const run = (resume?: SamplerState): Promise<Vec> =>
    sampler.sample({
      ...{ denoiser: sampler.denoiser((v) => v), x, numInferenceSteps: 4, generator: make(), resume },
      onStep: async (e) => void states.push(await e.state()),
    });
  const whole = await space.read(await run());
  for (const state of states.slice(0, 3))
    expectClose(await space.read(await run(JSON.parse(JSON.stringify(state)))), whole, 0);
});
