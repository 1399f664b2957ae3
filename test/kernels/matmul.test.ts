import { describe, expect, it } from 'vitest';
import { Graph, ShapeError, type Tunables } from '../../src/engine/index.ts';
import { linear, linearOp } from '../../src/kernels/matmul.ts';
import { packGated, packGatedVector, packMatrix, packVector } from '../../src/kernels/packing.ts';
import { linearReference } from '../reference/linear.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages, withoutSubgroups } from '../support/runGraph.ts';

/** One pipeline each: compiling is what costs on a software adapter. */
const VARIANTS = [
  { name: 'plain', tile: { ROWS: 1, WG_N: 32, WG_M: 1 }, act: 'none', bias: true, residual: false },
  { name: 'plain', tile: { ROWS: 2, WG_N: 4, WG_M: 16 }, act: 'silu', bias: false, residual: true },
  { name: 'plain', tile: { ROWS: 4, WG_N: 8, WG_M: 8 }, act: 'sigmoid', bias: true, residual: true },
  { name: 'tile 32', tile: { WG_N: 4, ROWS: 2, K4S: 2 }, act: 'silu', bias: true, residual: true },
  { name: 'shared 1', tile: {}, act: 'none', bias: true, residual: false },
  { name: 'shared 3', tile: {}, act: 'gelu', bias: false, residual: true },
  { name: 'shared 2', tile: {}, act: 'sigmoid', bias: true, residual: true },
  { name: 'shared 4', tile: {}, act: 'none', bias: true, residual: false },
] as const;

const cases = pairwise({
  variant: VARIANTS,
  M: [1, 2, 7, 33, 64],
  K: [1, 3, 4, 31, 130],
  N: [1, 4, 5, 63, 66],
  std: [1, 200],
});

describe.each(adapters())('linear on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(cases)('$M×$K×$N $variant.name $variant.act std=$std', async ({ variant, M, K, N, std }) => {
      const { name, tile, ...c } = variant;
      const device = await openDevice(adapter, name === 'plain' ? withoutSubgroups(options) : options);
      const x = roundTo(dtype, normals(1, M * K, { std: std }));
      const w = roundTo(dtype, normals(2, N * K, { std: 1 / Math.sqrt(K) }));
      const bias = normals(3, N);
      const residual = roundTo(dtype, normals(4, M * N));
      const g = new Graph(dtype);
      const rows = { layout: 'rows', dtype } as const;
      const y = linear(
        g.input('x', [M, K], rows),
        { key: 'w', shape: [N, K] },
        c.bias ? { key: 'b', shape: [N] } : undefined,
        {
          act: c.act,
          residual: c.residual ? g.input('r', [M, N], rows) : undefined,
          scale: 0.5,
        },
      );
      g.output('y', y);
      const tunables: Record<string, Tunables> = { matmul: tile, matmulTile: tile };
      const choices = { get: () => name };
      const caps = name.startsWith('tile') ? { software: false } : {};
      const { outputs } = await runGraph(device, g, {
        inputs: { x, r: residual },
        weights: { w, b: bias },
        tunables,
        choices,
        caps,
      });
      const want = linearReference(
        x,
        w,
        { M, N, K },
        {
          bias: c.bias ? bias : undefined,
          residual: c.residual ? residual : undefined,
          act: c.act,
          scale: 0.5,
        },
      );
      expectClose(outputs.y, want, dotTolerance(dtype, K, 5 * std), 'linear');
    });
  });

  it('packs a 1×1 convolution weight as a matrix and reads rows beyond the last workgroup safely', async () => {
    const device = await openDevice(adapter);
    const g = new Graph();
    const y = linear(g.input('x', [2, 5, 3, 6], { layout: 'rows' }), { key: 'w', shape: [7, 6, 1, 1] });
    g.output('y', y);
    const x = normals(5, 180);
    const w = normals(6, 42);
    const { outputs } = await runGraph(device, g, { inputs: { x }, weights: { w } });
    expect(y.shape).toEqual([2, 5, 3, 7]);
    expectClose(outputs.y, linearReference(x, w, { M: 30, N: 7, K: 6 }), dotTolerance('f32', 6, 5));
  });
});

describe.each(adapters())('linear in parts on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    // K of 257 and 300: parts of sixteen vec4, the last one shorter.
    it.each([
      { M: 1, K: 257, N: 5, act: 'none', bias: true, residual: false },
      { M: 9, K: 300, N: 66, act: 'sigmoid', bias: true, residual: true },
      { M: 33, K: 300, N: 130, act: 'silu', bias: false, residual: true },
    ] as const)('$M×$K×$N $act', async ({ M, K, N, ...c }) => {
      const device = await openDevice(adapter, options);
      const [x, w] = [roundTo(dtype, normals(1, M * K)), roundTo(dtype, normals(2, N * K, { std: 1 / Math.sqrt(K) }))];
      const [bias, residual] = [normals(3, N), roundTo(dtype, normals(4, M * N))];
      const g = new Graph(dtype);
      const rows = { layout: 'rows', dtype } as const;
      const weight = { key: 'w', shape: [N, K] };
      const y = linear(g.input('x', [M, K], rows), weight, c.bias ? { key: 'b', shape: [N] } : undefined, {
        act: c.act,
        residual: c.residual ? g.input('r', [M, N], rows) : undefined,
        scale: 0.5,
      });
      g.output('y', y);
      const { outputs, dispatches } = await runGraph(device, g, {
        inputs: { x, r: residual },
        weights: { w, b: bias },
        choices: { get: () => 'split' },
      });
      expect(dispatches.map(({ kernel }) => kernel.name)).toEqual(['matmulSplit', 'matmulJoin']);
      const extras = { bias: c.bias ? bias : undefined, residual: c.residual ? residual : undefined };
      const want = linearReference(x, w, { M, N, K }, { ...extras, act: c.act, scale: 0.5 });
      expectClose(outputs.y, want, dotTolerance(dtype, K, 5), 'linear');
    });
  });
});

it.each(adapters())(
  'in parts: gated, with a second tensor and a gate, is what it is at once, on %s',
  async (adapter) => {
    const device = await openDevice(adapter);
    const [M, K, L, N] = [6, 180, 80, 10];
    const inputs = { x: normals(1, M * K), second: normals(2, M * L), gate: normals(3, 2 * (N + 4)) };
    const weights = { w: normals(4, 2 * N * (K + L), { std: 1 / Math.sqrt(K + L) }), b: normals(5, 2 * N) };
    const by = async (way: string) => {
      const g = new Graph();
      const input = (name: string, shape: number[]) => g.input(name, shape, { layout: 'rows' });
      const of = {
        x: input('x', [2, M / 2, K]),
        second: input('second', [2, M / 2, L]),
        gate: input('gate', [2, N + 4]),
        weight: g.constant({ key: 'w', shape: [2 * N, K + L] }, packGated, 'f32'),
        bias: g.constant({ key: 'b', shape: [2 * N] }, packGatedVector, 'f32'),
      };
      const attrs = { act: 'gelu', scale: 2, gated: true, gateAt: 4 } as const;
      g.output('y', g.record(linearOp, of, attrs, [2, M / 2, N]));
      return runGraph(device, g, { inputs, weights, choices: { get: () => way } });
    };
    const [parts, once] = [await by('split'), await by('plain')];
    expect(parts.dispatches).toHaveLength(2);
    expectClose(parts.outputs.y, once.outputs.y, dotTolerance('f32', K + L, 50));
  },
);

it.each(adapters())('of two tensors and a residual is what it is of one that holds both, on %s', async (adapter) => {
  const device = await openDevice(adapter);
  const [M, K, L, N] = [37, 20, 13, 10];
  const inputs = { x: normals(1, M * K), second: normals(2, M * L), residual: normals(3, M * N) };
  const weights = { w: normals(4, N * (K + L), { std: 1 / Math.sqrt(K + L) }), b: normals(5, N) };
  const joined = Float32Array.from({ length: M * (K + L) }, (_, i) => {
    const [m, k] = [Math.floor(i / (K + L)), i % (K + L)];
    return k < K ? inputs.x[m * K + k] : inputs.second[m * L + k - K];
  });
  const g = new Graph();
  const input = (name: string, width: number) => g.input(name, [M, width], { layout: 'rows' });
  const of = {
    ...{ x: input('x', K), second: input('second', L), residual: input('residual', N) },
    weight: g.constant({ key: 'w', shape: [N, K + L] }, packMatrix, 'f32'),
    bias: g.constant({ key: 'b', shape: [N] }, packVector, 'f32'),
  };
  g.output('y', g.record(linearOp, of, { act: 'none', scale: 0.5 } as const, [M, N]));
  const { outputs, dispatches } = await runGraph(device, g, { inputs, weights });
  expect(dispatches.map(({ tunables }) => tunables.HAS_SECOND)).toEqual([false, false]);
  const extras = { bias: weights.b, residual: inputs.residual, scale: 0.5 };
  const want = linearReference(joined, weights.w, { M, N, K: K + L }, extras);
  expectClose(outputs.y, want, dotTolerance('f32', K + L, 5));
});

describe('linear shapes', () => {
  it('names both shapes when K differs', () => {
    const g = new Graph();
    const x = g.input('x', [2, 5], { layout: 'rows' });
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 4] })).toThrow(ShapeError);
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 4] })).toThrow(
      /x has K=5 but weight expects K=4.*fc\.weight/,
    );
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 5] }, { key: 'fc.bias', shape: [4] })).toThrow(/bias \[3\]/);
    const residual = g.input('r', [2, 4], { layout: 'rows' });
    expect(() => linear(x, { key: 'fc.weight', shape: [3, 5] }, undefined, { residual })).toThrow(/residual \[2,3\]/);
  });
});
