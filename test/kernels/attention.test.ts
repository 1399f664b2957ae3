import { describe, expect, it } from 'vitest';
import { Graph, LimitError, ShapeError, type Device } from '../../src/engine/index.ts';
import { attention, ATTENTION_ALGORITHMS, type AttentionAlgorithm } from '../../src/kernels/attention.ts';
import { attentionReference, type AttentionShape } from '../reference/attention.ts';
import { attentionTolerance, expectClose } from '../support/close.ts';
import { adapters, isFullRun } from '../support/gpu.ts';
import { normals, pairwise, roundTo, uniform } from '../support/random.ts';
import { openDevice, runGraph, storages, withoutSubgroups } from '../support/runGraph.ts';

interface Case extends AttentionShape {
  algorithm: AttentionAlgorithm;
  scoreBytes?: number;
  /** Per batch item, head, query; each may be one for all, the one for heads left out. */
  mask?: { shape: readonly number[]; data: Float32Array };
  scale?: number;
  tunables?: Record<string, number>;
}

async function run(device: Device, dtype: 'f32' | 'f16', c: Case, data: Record<'q' | 'k' | 'v', Float32Array>) {
  const { B, T, S, heads, d, mask } = c;
  const g = new Graph(dtype);
  const rows = { layout: 'rows', dtype } as const;
  const input = (name: string, length: number) => g.input(name, [B, length, heads * d], rows);
  const y = attention(input('q', T), input('k', S), input('v', S), {
    heads,
    scale: c.scale,
    algorithm: c.algorithm,
    scoreBytes: c.scoreBytes,
    mask: mask && g.input('mask', mask.shape, { layout: 'rows' }),
  });
  g.output('y', y);
  const forced = c.tunables ?? {};
  const { outputs } = await runGraph(device, g, {
    inputs: { ...data, ...(mask && { mask: mask.data }) },
    tunables: { attentionRow: forced, attentionBlock: forced, attentionScores: forced, attentionMix: forced },
  });
  return outputs.y;
}

function inputs(dtype: 'f32' | 'f16', { B, T, S, heads, d }: AttentionShape, std: number) {
  const width = heads * d;
  return {
    q: roundTo(dtype, normals(1, B * T * width, { std })),
    k: roundTo(dtype, normals(2, B * S * width)),
    v: roundTo(dtype, normals(3, B * S * width)),
  };
}

async function check(device: Device, dtype: 'f32' | 'f16', c: Case, std = 1) {
  const data = inputs(dtype, c, std);
  const at =
    c.mask &&
    ((b: number, h: number, t: number, s: number) => {
      const { shape, data: values } = c.mask!;
      const [mb, mh, mt, ms] = shape.length === 3 ? [shape[0], 1, shape[1], shape[2]] : shape;
      return values[(((mb > 1 ? b : 0) * mh + (mh > 1 ? h : 0)) * mt + (mt > 1 ? t : 0)) * ms + s];
    });
  const { out, score } = attentionReference(data.q, data.k, data.v, c, c.scale, at);
  const got = await run(device, dtype, c, data);
  expectClose(
    got,
    out,
    attentionTolerance(dtype, c.d, c.S, score, 5),
    JSON.stringify({ ...c, mask: c.mask?.shape, std }),
  );
}

const cases = pairwise({
  T: [1, 3, 33, 65],
  S: [1, 4, 7, 77],
  heads: [1, 3],
  d: [2, 3, 8, 12, 40, 160],
  B: [1, 2],
  std: [1, 8],
});

/**
 * The two that keep scores to themselves; some drivers compile a pipeline of theirs in seconds, and `row` has one per
 * head width.
 */
const flash: Case[] = [
  { B: 2, T: 33, S: 77, heads: 3, d: 6, algorithm: 'row' },
  { B: 1, T: 65, S: 5, heads: 2, d: 8, algorithm: 'row' },
  { B: 2, T: 33, S: 77, heads: 3, d: 6, algorithm: 'block' },
  { B: 1, T: 3, S: 1, heads: 1, d: 2, algorithm: 'block' },
  { B: 1, T: 9, S: 67, heads: 2, d: 40, algorithm: 'block' },
  { B: 1, T: 5, S: 130, heads: 1, d: 128, algorithm: 'block' },
];

const variants: Case[] = [
  { B: 1, T: 9, S: 13, heads: 2, d: 8, algorithm: 'row', tunables: { ROWS: 2, WG: 32 } },
  { B: 2, T: 19, S: 70, heads: 1, d: 20, algorithm: 'block', tunables: { ROW4: 2, WG: 32 } },
  { B: 1, T: 5, S: 67, heads: 1, d: 512, algorithm: 'block' },
  { B: 2, T: 21, S: 13, heads: 2, d: 16, algorithm: 'matrix', tunables: { ROWS: 8, WG_T: 1 } },
  { B: 2, T: 21, S: 13, heads: 2, d: 16, algorithm: 'matrix', scoreBytes: 4 * 4 * 64 },
  ...((isFullRun
    ? [
        { B: 1, T: 9, S: 13, heads: 2, d: 8, algorithm: 'row', tunables: { ROWS: 4, WG: 128 } },
        { B: 1, T: 70, S: 70, heads: 1, d: 128, algorithm: 'row' },
        { B: 1, T: 70, S: 300, heads: 2, d: 64, algorithm: 'row' },
        { B: 1, T: 19, S: 70, heads: 1, d: 20, algorithm: 'block', tunables: { ROW4: 4, WG: 64 } },
        { B: 1, T: 70, S: 300, heads: 1, d: 1024, algorithm: 'block' },
        { B: 2, T: 1000, S: 77, heads: 8, d: 40, algorithm: 'matrix' },
      ]
    : []) as Case[]),
];

describe.each(adapters())('attention on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)('matrix B=$B T=$T S=$S heads=$heads d=$d std=$std', async (c) => {
      await check(await openDevice(adapter, options), dtype, { ...c, algorithm: 'matrix' }, c.std);
    });

    it.each(
      dtype === 'f32' || isFullRun
        ? flash
        : flash.filter((c) => c.d === 6 && (c.algorithm === 'row' || adapter !== 'lavapipe')),
    )('$algorithm B=$B T=$T S=$S heads=$heads d=$d', async (c) => {
      await check(await openDevice(adapter, options), dtype, c);
    });
  });

  // `block` is the dearest to compile; one adapter that does it quickly is enough for its variants from day to day.
  const affordable = adapter === 'lavapipe' && !isFullRun ? variants.filter((c) => !c.tunables?.ROW4) : variants;
  it.each(affordable)('$algorithm d=$d $tunables $scoreBytes', async (c) => {
    const plain = c.algorithm === 'matrix' && c.tunables;
    await check(await openDevice(adapter, plain ? withoutSubgroups({}) : {}), 'f32', c);
  });

  describe.each(ATTENTION_ALGORITHMS)('%s', (algorithm) => {
    const shape = { B: 2, T: 3, S: 7, heads: 2, d: 8, algorithm } as const;

    it.each([
      [[2, 3, 7]],
      [[1, 3, 7]],
      [[2, 1, 7]],
      [[1, 1, 7]],
      [[1, 2, 3, 7]],
      [[2, 2, 1, 7]],
      [[2, 2, 3, 7]],
      [[2, 1, 3, 7]],
    ])('adds a mask %j', async (dimensions) => {
      const u = uniform(7);
      const size = dimensions.reduce((a, b) => a * b);
      const data = Float32Array.from({ length: size }, () => (u() < 0.3 ? -Infinity : u() < 0.3 ? -1e4 : u()));
      // The matrix algorithm takes its three queries in two rounds.
      const c = { ...shape, mask: { shape: dimensions, data }, scoreBytes: 256 };
      await check(await openDevice(adapter), 'f32', c);
    });

    it('averages all values where everything is masked', async () => {
      for (const low of [-Infinity, -3e38, -1e30]) {
        const data = new Float32Array(7).fill(low);
        await check(await openDevice(adapter), 'f32', { ...shape, mask: { shape: [1, 1, 7], data } });
      }
    });

    it('does not overflow on scores of ±10⁴ and more', async () => {
      const device = await openDevice(adapter);
      for (const scale of [1e3, -1e3, 1e6]) {
        const got = await run(device, 'f32', { ...shape, scale }, inputs('f32', shape, 10));
        expect(got.every(Number.isFinite)).toBe(true);
      }
      // Scores that are far apart but exact: the largest takes all.
      const q = new Float32Array(48).fill(1);
      const k = Float32Array.from({ length: 112 }, (_, i) => (i % 8 === 0 ? 1e4 * ((Math.floor(i / 16) * 3) % 7) : 0));
      const { v } = inputs('f32', { ...shape, B: 1 }, 1);
      const c = { ...shape, B: 1, scale: 1 };
      const got = await run(device, 'f32', c, { q, k, v });
      expectClose(got, attentionReference(q, k, v, c, 1).out, attentionTolerance('f32', 8, 7, 1, 5));
    });

    it('is indifferent to the order of the keys', async () => {
      const device = await openDevice(adapter);
      const c = { B: 1, T: 5, S: 77, heads: 2, d: 8, algorithm } as const;
      const { q, k, v } = inputs('f32', c, 1);
      const order = Array.from({ length: 77 }, (_, i) => (i * 30 + 11) % 77);
      const permute = (x: Float32Array) => Float32Array.from(x, (_, i) => x[order[Math.floor(i / 16)] * 16 + (i % 16)]);
      const straight = await run(device, 'f32', c, { q, k, v });
      const mixed = await run(device, 'f32', c, { q, k: permute(k), v: permute(v) });
      expectClose(mixed, straight, 2 * attentionTolerance('f32', 8, 77, 5, 5));
    });
  });
});

describe('attention shapes', () => {
  const g = new Graph();
  const x = (name: string, shape: number[]) => g.input(name, shape, { layout: 'rows' });
  const q = x('q', [2, 5, 12]);
  const k = x('k', [2, 7, 12]);

  it('says what does not fit', () => {
    expect(() => attention(q, k, k, { heads: 5 })).toThrow(/heads to divide the width 12, got 5/);
    expect(() => attention(q, x('k2', [2, 7, 8]), k, { heads: 2 })).toThrow(ShapeError);
    expect(() => attention(q, k, x('v2', [2, 6, 12]), { heads: 2 })).toThrow(/expected v \[2,7,12\], got \[2,6,12\]/);
    expect(() => attention(q, k, k, { heads: 2, mask: x('m', [2, 4, 7]) })).toThrow(
      /f32 mask \[2 or 1,2 or 1,5 or 1,7\]/,
    );
    const wide = x('wide', [1, 2, 1028]);
    expect(() => attention(wide, wide, wide, { heads: 1 })).toThrow(LimitError);
  });

  it('copies heads apart only where they do not start on a vec4', () => {
    expect(attention(q, k, k, { heads: 3 }).shape).toEqual([2, 5, 12]);
    expect(g.nodes.map((n) => n.op.name)).toEqual(['attention']);
    attention(q, k, k, { heads: 2 });
    expect(g.nodes.map((n) => n.op.name).slice(1)).toEqual(['reshape', 'reshape', 'reshape', 'attention', 'reshape']);
  });
});
