import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../../src/engine/errors.ts';
import { runTorchRandnCase } from '../../../src/node/parity/torchRandnCase.ts';
import { HostSpace } from '../../../src/sampler/hostVec.ts';
import { TorchGenerator, torchNoise } from '../../../src/sampler/noise/torchGenerator.ts';
import { expectClose, TORCH_NORMAL } from '../../support/close.ts';

interface Run {
  seed: number;
  shape: number[];
  last: number[];
  then_randint_0_1000: number[];
}

const fixture: { runs: Run[] } = JSON.parse(
  readFileSync(new URL('../../fixtures/torch_randn.json', import.meta.url), 'utf8'),
);

describe('TorchGenerator', () => {
  test.each(fixture.runs.map((run) => ({ name: `seed ${run.seed}, shape ${run.shape.join('×')}`, run })))(
    '$name: as recorded from PyTorch',
    async ({ run }) => {
      const { error, tolerance } = await runTorchRandnCase({ runs: [run] });
      expect(error).toBeLessThanOrEqual(tolerance);
      expect(tolerance).toBe(TORCH_NORMAL);
    },
  );

  test('a wrong draw is seen', async () => {
    const run = structuredClone(fixture.runs[5]);
    run.last[3] += 10 * TORCH_NORMAL;
    expect((await runTorchRandnCase({ runs: [run] })).error).toBeGreaterThan(TORCH_NORMAL);
    const other = structuredClone(fixture.runs[5]);
    other.then_randint_0_1000[2] += 1;
    expect((await runTorchRandnCase({ runs: [other] })).error).toBe(Infinity);
  });

  test('the integer stream is MT19937: its 10,000th number from seed 5489', () => {
    const g = new TorchGenerator(5489);
    for (let i = 1; i < 10000; i++) g.random();
    expect(g.random()).toBe(4123659995); // ISO C++ [rand.predef] requires it of mt19937
  });

  test('only the low 32 bits of a seed count, and negative seeds wrap', () => {
    const draw = (seed: number | bigint): number => new TorchGenerator(seed).random();
    expect(draw(2 ** 32 + 7)).toBe(draw(7));
    expect(draw(-1)).toBe(draw(0xffffffff));
    expect(new TorchGenerator(-1).seed).toBe(2n ** 64n - 1n);
    expect(draw(1)).not.toBe(draw(2));
  });

  test('state goes through JSON, with the normal that waits', () => {
    const g = new TorchGenerator(3);
    g.randn(3);
    const copy = new TorchGenerator();
    copy.state = JSON.parse(JSON.stringify(g.state));
    expect([...copy.randn(5), ...copy.randn(700)]).toEqual([...g.randn(5), ...g.randn(700)]);
  });

  test('a wide randint takes 64 bits', () => {
    const g = new TorchGenerator(9);
    const [high, low] = [g.random(), g.random()];
    const want = Number(((BigInt(high) << 32n) | BigInt(low)) % BigInt(2 ** 40 + 3)) - 5;
    expect(new TorchGenerator(9).randint(-5, 2 ** 40 - 2, 1)).toEqual([want]);
  });

  test('one generator per item makes an item independent of its batch', async () => {
    const space = new HostSpace();
    const like = space.vec(new Float32Array(40), 2);
    const both = await space.read(torchNoise([new TorchGenerator(1), new TorchGenerator(2)])(like));
    expectClose(both.subarray(20), new TorchGenerator(2).randn(20), 0);
    expect(() => torchNoise([new TorchGenerator(1)])(like)).toThrow(InvalidArgumentError);
  });

  test.each([1.5, NaN, 2 ** 60, 2n ** 64n])('seed %s is refused', (seed) => {
    expect(() => new TorchGenerator(seed)).toThrow(InvalidArgumentError);
  });
});
