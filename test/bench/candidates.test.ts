import { afterEach, describe, expect, test } from 'vitest';
import { candidateCases, candidateWays, shapeCases } from '../../bench/candidates/cases.ts';
import { recordProblem } from '../../bench/kernels/record.ts';
import type { Shape } from '../../bench/kernels/shapes.ts';
import { measureGroup } from '../../bench/measure.ts';
import { DEFAULT_CAPABILITIES, Device } from '../../src/engine/index.ts';
import { getGpu } from '../support/gpu.ts';

const card = DEFAULT_CAPABILITIES;
const processor = { ...card, software: true, subgroupSize: 8 };

const conv: Shape = {
  id: 'small-8x8x4-4',
  problem: {
    op: 'conv2d',
    ...{ B: 1, H: 8, W: 8, I: 4, O: 4, R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 },
  },
};
const norm: Shape = { id: 'small', problem: { op: 'layerNorm', M: 8, D: 16, eps: 1e-5 } };
const add: Shape = { id: 'small', problem: { op: 'elementwise', kind: 'add', B: 1, H: 8, W: 8, C: 4 } };

const waysOf = ({ problem }: Shape, caps: typeof card) =>
  candidateWays(recordProblem(problem, 'f32'), caps).map(({ way, role }) => `${way}: ${role}`);

describe('the ways of computing a shape', () => {
  test('are all that the op offers, the usual one first and last', () => {
    expect(waysOf(conv, processor)).toEqual([
      'shared 2: usual',
      'plain: untried',
      'shared 1: untried',
      'shared 3: tried',
      ...[2, 4].flatMap((tile) => [
        `winograd${tile} 0: untried`,
        `winograd${tile} 1: untried`,
        `winograd${tile} 2: tried`,
        `winograd${tile} 3: tried`,
      ]),
      'shared 2 once more: usual',
    ]);
    const onCard = waysOf(conv, card);
    expect(onCard).toEqual(expect.arrayContaining(['tile 64: tried', 'winograd4 0: tried']));
    expect(onCard.some((way) => way.startsWith('shared'))).toBe(false);
  });

  test('are computing with and without subgroups where there is nothing else to choose, and none where that is the same', () => {
    expect(waysOf(norm, processor)).toEqual(['usual: usual', 'without subgroups: untried', 'usual once more: usual']);
    expect(waysOf(norm, card)).toEqual([]);
    expect(waysOf(add, card)).toEqual([]);
  });

  test('are none beyond the limits', () => {
    const limits = { ...processor.limits, maxStorageBufferBindingSize: 64 };
    expect(waysOf(conv, { ...processor, limits })).toEqual([]);
  });

  test('are there for every shape with products, on any adapter', () => {
    for (const caps of [card, processor]) {
      const of = new Set(candidateCases('f32', caps).map((c) => c.candidate!.of.split('/')[0]));
      expect([...of]).toEqual(expect.arrayContaining(['matmul', 'conv2d', 'attention']));
    }
  });
});

describe('of the ways', () => {
  const heads: Shape = { id: 'small', problem: { op: 'attention', B: 1, T: 8, S: 8, heads: 2, d: 8 }, quick: true };
  const cases = shapeCases(heads, 'f32', candidateWays(recordProblem(heads.problem, 'f32'), processor));
  const named = (mark: 'quick' | 'slow') => cases.filter((c) => c[mark]).map((c) => c.candidate!.way);

  test('attention has some that take a processor long to compile', () => {
    expect(named('slow')).toEqual(expect.arrayContaining(['row', 'block', 'tile 16x32']));
    expect(named('slow').some((way) => way.startsWith('matrix'))).toBe(false);
  });

  test('the usual one and one that is not slow are enough to see that all works', () => {
    expect(named('quick')).toEqual([cases[0].candidate!.way, 'matrix 2']);
  });
});

describe('the ways of a small convolution, on lavapipe', () => {
  let device: Device | undefined;
  afterEach(() => device?.dispose());

  const ways = ['shared 2', 'plain', 'winograd4 2', 'without subgroups', 'shared 2 once more'].map((way, i) => {
    return { way, role: i % 4 === 0 ? ('usual' as const) : ('tried' as const) };
  });

  /** @param from the first case that takes part */
  async function measure(from = 0) {
    const gpu = await getGpu('lavapipe');
    const without: string[][] = [];
    const openDevice = (tuned: boolean, features: readonly GPUFeatureName[] = []) => {
      expect(tuned).toBe(false);
      without.push([...features]);
      return Device.open({ gpu, without: [...features], tune: { mode: 'off' } });
    };
    const cases = shapeCases(conv, 'f32', ways).slice(from);
    return { ...(await measureGroup(cases, { openDevice, reps: 6, tune: true })), without };
  }

  test('are computed as they say, and compared turn by turn with the usual one', async () => {
    const { results, failures, without } = await measure();
    expect(failures).toEqual([]);
    expect(results.map((r) => [r.name, r.dispatches])).toEqual([
      ['conv2d/small-8x8x4-4 shared 2', 1],
      ['conv2d/small-8x8x4-4 plain', 1],
      ['conv2d/small-8x8x4-4 winograd4 2', 3],
      ['conv2d/small-8x8x4-4 without subgroups', 1],
      ['conv2d/small-8x8x4-4 shared 2 once more', 1],
    ]);
    expect(without).toEqual([[], ['subgroups']]);
    const [usual, ...others] = results;
    expect(usual).toMatchObject({
      suite: 'candidates',
      candidate: { of: 'conv2d/small-8x8x4-4', way: 'shared 2', role: 'usual' },
    });
    expect(usual.gain).toBeUndefined();
    for (const { gain } of others) expect(gain).toMatchObject({ against: usual.name, pairs: 6 });
  });

  test('are not measured without a right result of the usual one', async () => {
    const { results, failures } = await measure(3);
    expect(results).toEqual([]);
    expect(failures.map((f) => f.message)).toEqual([
      expect.stringMatching(/conv2d\/small-8x8x4-4 computed as usual/),
      expect.stringMatching(/computed as usual/),
    ]);
  });
});
