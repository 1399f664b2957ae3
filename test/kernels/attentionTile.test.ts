import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  type Device,
  Graph,
  LimitError,
  lowerNodes,
  type Capabilities,
} from '../../src/engine/index.ts';
import { attention } from '../../src/kernels/attention.ts';
import { attentionTile, attentionTileKernel } from '../../src/kernels/attentionTiles.ts';
import { attentionReference, type AttentionShape } from '../reference/attention.ts';
import { attentionTolerance, expectClose } from '../support/close.ts';
import { adapters, isFullRun } from '../support/gpu.ts';
import { normals, roundTo, uniform } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

function record({ B, T, S, heads, d }: AttentionShape, dtype: 'f32' | 'f16', masked = false) {
  const g = new Graph(dtype);
  const input = (name: string, length: number) => g.input(name, [B, length, heads * d], { layout: 'rows', dtype });
  const mask = masked ? g.input('mask', [B, 1, T, S], { layout: 'rows' }) : undefined;
  g.output('y', attention(input('q', T), input('k', S), input('v', S), { heads, mask }));
  return g;
}

interface Case extends AttentionShape {
  way: string;
  masked?: boolean;
  /** Of the queries, and magnitude of the values. */
  std?: number;
  value?: number;
}

async function check(device: Device, dtype: 'f32' | 'f16', c: Case) {
  const { B, T, S, heads, d, way, masked, std = 1, value = 1 } = c;
  const width = heads * d;
  const u = uniform(4);
  const mask = Float32Array.from({ length: B * T * S }, () => (u() < 0.3 ? -Infinity : u()));
  const inputs = {
    q: roundTo(dtype, normals(1, B * T * width, { std })),
    k: roundTo(dtype, normals(2, B * S * width)),
    v: roundTo(dtype, normals(3, B * S * width, { std: value })),
    ...(masked && { mask }),
  };
  const at = masked ? (b: number, _: number, t: number, s: number) => mask[(b * T + t) * S + s] : undefined;
  const { out, score } = attentionReference(inputs.q, inputs.k, inputs.v, c, undefined, at);
  const { outputs, dispatches } = await runGraph(device, record(c, dtype, masked), {
    inputs,
    choices: { get: () => way },
    caps: { software: false },
  });
  const names = dispatches.map(({ kernel }) => kernel.name).filter((name) => name !== 'copyRows');
  expect(names).toEqual(way.endsWith('in parts') ? ['attentionTile', 'attentionJoin'] : ['attentionTile']);
  expectClose(outputs.y, out, attentionTolerance(dtype, d, S, score, 5 * value), JSON.stringify(c));
}

/** Every size is one tile more or less something, a prime, or one. */
const cases: Case[] = [
  { way: 'tile 64x32', B: 2, T: 65, S: 77, heads: 2, d: 40 },
  { way: 'tile 32x80', B: 1, T: 31, S: 77, heads: 1, d: 40, masked: true },
  { way: 'tile 32x32', B: 1, T: 31, S: 33, heads: 2, d: 72, std: 8 },
  { way: 'tile 16x32', B: 1, T: 17, S: 1, heads: 1, d: 512 },
];

/** Half of the keys are masked, in parts of which the last is shorter; the cheapest to compile. */
const parts: Case = { way: 'tile 16x32 in parts', B: 2, T: 17, S: 131, heads: 2, d: 6, masked: true, value: 1e4 };

const more: Case[] = [
  { way: 'tile 64x16', B: 1, T: 63, S: 13, heads: 3, d: 12, std: 8 },
  { way: 'tile 32x64', B: 1, T: 33, S: 65, heads: 1, d: 160, value: 1e4 },
  { way: 'tile 32x32 in parts', B: 1, T: 33, S: 300, heads: 1, d: 512, std: 8 },
  { way: 'tile 64x32 in parts', B: 1, T: 129, S: 1000, heads: 3, d: 64 },
  { way: 'tile 64x32', B: 2, T: 1000, S: 77, heads: 8, d: 80 },
  { way: 'tile 64x32', B: 1, T: 64, S: 64, heads: 1, d: 128, masked: true },
];

describe.each(adapters())('attention by tiles on %s', (adapter) => {
  // Unrolled as GPUs want them, these take lavapipe's compiler seconds to minutes: it does what no other adapter can.
  const here = storages(adapter).filter(([storage]) => adapter !== 'lavapipe' || storage === 'f16' || isFullRun);
  describe.each(here)('%s', (_, dtype, options) => {
    it('in parts', async () => check(await openDevice(adapter, options), dtype, parts));

    const affordable = isFullRun ? [...cases, ...more] : dtype === 'f32' ? cases : [];
    it.each(adapter === 'lavapipe' ? [] : affordable)('$way B=$B T=$T S=$S heads=$heads d=$d', async (c) => {
      await check(await openDevice(adapter, options), dtype, c);
    });
  });
});

const names = (shape: AttentionShape, caps: Partial<Capabilities> = {}) => {
  const g = record(shape, 'f32');
  let found: { usual: string; ways: readonly string[] } | undefined;
  lowerNodes(g, g.nodes, { ...DEFAULT_CAPABILITIES, ...caps }, { onChoice: (place) => (found = place) });
  return found!;
};

describe('ways of attention', () => {
  it.each([
    ['SD 1.5, 64² latents', { B: 2, T: 4096, S: 4096, heads: 8, d: 40 }, 'tile 64x32'],
    ['SD 1.5, 32²', { B: 2, T: 1024, S: 1024, heads: 8, d: 80 }, 'tile 64x32'],
    ['SD 1.5, 16²: few queries', { B: 2, T: 256, S: 256, heads: 8, d: 160 }, 'tile 16x32'],
    ['a text of 77 tokens', { B: 2, T: 4096, S: 77, heads: 8, d: 40 }, 'tile 32x80'],
    ['a picture of 16 tokens', { B: 2, T: 4096, S: 16, heads: 8, d: 40 }, 'tile 64x16'],
    ['DiT-XL', { B: 2, T: 256, S: 256, heads: 16, d: 72 }, 'tile 32x64'],
    ['an autoencoder: one head, many keys', { B: 1, T: 4096, S: 4096, heads: 1, d: 512 }, 'tile 32x32 in parts'],
    ['a single query', { B: 1, T: 1, S: 257, heads: 16, d: 64 }, 'block'],
    ['heads too wide for tiles', { B: 1, T: 64, S: 64, heads: 1, d: 1024 }, 'block'],
  ])('%s', (_, shape, usual) => {
    expect(names(shape).usual).toBe(usual);
    expect(names(shape).ways).toContain(usual);
  });

  it('offers processors nothing with barriers', () => {
    const shape = { B: 2, T: 256, S: 256, heads: 8, d: 40 };
    expect(names(shape, { software: true })).toMatchObject({ usual: 'matrix 0', ways: ['matrix 0'] });
    const shared = names(shape, { software: true, subgroupSize: 8 });
    expect(shared).toMatchObject({ usual: 'matrix 3', ways: ['matrix 2', 'matrix 3', 'matrix 4'] });
  });

  it('forced, are taken wherever they can be', () => {
    const g = new Graph();
    const x = g.input('x', [1, 3, 1024], { layout: 'rows' });
    attention(x, x, x, { heads: 2, algorithm: 'tile' });
    const software = { ...DEFAULT_CAPABILITIES, software: true };
    expect(lowerNodes(g, g.nodes.slice(-1), software)[0].kernel.name).toBe('attentionTile');
    expect(() => attention(x, x, x, { heads: 1, algorithm: 'tile' })).toThrow(LimitError);
  });
});

describe('tiles', () => {
  const { limits } = DEFAULT_CAPABILITIES;

  it('fit the limits that every adapter has, for heads of 1 to 512 channels', () => {
    for (let D4 = 1; D4 <= 128; D4++) {
      for (const least of [64, 256]) {
        const tile = attentionTile(16, 32, D4, least, limits)!;
        expect(tile, `${D4}`).toBeDefined();
        expect(attentionTileKernel.valid!(tile, DEFAULT_CAPABILITIES)).toBe(true);
      }
    }
  });
});
