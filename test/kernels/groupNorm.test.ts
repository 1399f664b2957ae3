import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  Graph,
  InvalidArgumentError,
  lowerNodes,
  ShapeError,
  type Capabilities,
} from '../../src/engine/index.ts';
import { concat } from '../../src/kernels/concat.ts';
import { GROUP_NORM_ALGORITHMS, groupNorm, rowsPerChunk } from '../../src/kernels/groupNorm.ts';
import { expectSubgroups, lanesOver, subgroupPays } from '../../src/kernels/groupNormSubgroup.ts';
import { rewrites } from '../../src/kernels/rewrites.ts';
import { groupNormReference } from '../reference/norm.ts';
import { expectClose, normTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo, uniform } from '../support/random.ts';
import { forms, openDevice, runGraph } from '../support/runGraph.ts';

const VARIANTS = [
  { WG: 64, LANES: 1, ROWS: 4, act: 'none', gamma: true, beta: true, scale: 1 },
  { WG: 128, LANES: 64, ROWS: 1, act: 'silu', gamma: true, beta: true, scale: 0.25 },
  { WG: 256, LANES: 8, ROWS: 2, act: 'sigmoid', gamma: false, beta: false, scale: 2 },
  { WG: 64, LANES: 32, ROWS: 8, act: 'gelu', gamma: true, beta: false, scale: 1 },
] as const;

const FORMS = forms();

const DISPATCHES = { subgroup: 1, slab: 1, chunks: 2, passes: 3 };

const cases = pairwise({
  form: FORMS,
  variant: VARIANTS,
  algorithm: GROUP_NORM_ALGORITHMS,
  // Channels of a second tensor, behind those of the first.
  second: [0, 3],
  B: [1, 3],
  // 16 is the least of a chunk, so these are one chunk, one and a pixel, several and a rest.
  map: [
    [1, 1],
    [3, 5],
    [1, 17],
    [16, 16],
    [23, 29],
  ] as const,
  // Groups of one channel, of a part of a vec4, across its border, of several.
  split: [
    [1, 1],
    [4, 4],
    [6, 3],
    [6, 2],
    [10, 2],
    [32, 4],
    [35, 5],
    // Several lanes of a subgroup side by side: two, four and eight of eight.
    [96, 32],
    [64, 32],
    [128, 16],
  ] as const,
  data: [
    { mean: 0, std: 1 },
    { mean: 1000, std: 1 },
    { mean: -300, std: 200 },
  ],
});

describe.each(FORMS)('groupNorm on $adapter, $storage', (form) => {
  const { adapter, dtype, options } = form;
  // SwiftShader takes two seconds for every kernel with kilobytes of workgroup memory.
  const some = cases
    .filter((k) => k.form === form)
    .filter((k, i) => adapter !== 'swiftshader' || k.algorithm === 'passes' || i % 2);
  it.each(some)('$algorithm B=$B $map C/G=$split $variant.act mean=$data.mean second=$second', async (k) => {
    const device = await openDevice(adapter, options);
    const { B, variant } = k;
    const [H, W] = k.map;
    const [C, groups] = k.split;
    const x = roundTo(dtype, normals(1, B * H * W * C, k.data));
    const [gamma, beta] = [normals(2, C, { mean: 1 }), normals(3, C)];
    const g = new Graph(dtype);
    const rows = { layout: 'rows', dtype } as const;
    // Two tensors as a rewrite leaves them, where the first ends on a vec4.
    const split = k.second > 0 && C > 4 ? 4 * Math.ceil((C - k.second) / 4 - 1) || 4 : C;
    const parts = [split, C - split].filter((n) => n > 0).map((n, i) => g.input(`x${i}`, [B, H, W, n], rows));
    const y = groupNorm(
      parts.length === 1 ? parts[0] : concat(parts[0], parts[1]),
      variant.gamma ? { key: 'gamma', shape: [C] } : undefined,
      variant.beta ? { key: 'beta', shape: [C] } : undefined,
      { groups, eps: 1e-5, act: variant.act, scale: variant.scale, algorithm: k.algorithm },
    );
    g.output('y', y);
    const channels = (from: number, to: number) => x.filter((_, i) => i % C >= from && i % C < to);
    const inputs: Record<string, Float32Array> = { x0: channels(0, split) };
    if (split < C) inputs.x1 = channels(split, C);
    const { WG, LANES, ROWS } = variant;
    const tunables = { groupNormStats: { WG }, groupNormFinalise: { WG, LANES }, groupNormApply: { WG, ROWS } };
    const { outputs, dispatches } = await runGraph(device, g, {
      inputs,
      weights: { gamma, beta },
      tunables,
      rewrites,
    });
    const twice = k.algorithm === 'passes' && split < C ? 2 : 0;
    expect(dispatches.length).toBe(DISPATCHES[k.algorithm] + twice);
    const extras = {
      gamma: variant.gamma ? gamma : undefined,
      beta: variant.beta ? beta : undefined,
      act: variant.act,
      eps: 1e-5,
    };
    const { out, gain } = groupNormReference(x, { B, P: H * W, C, groups }, extras);
    expectClose(
      outputs.y,
      out.map((v) => variant.scale * v),
      out.map((v, i) => variant.scale * normTolerance(dtype, gain[i], v)),
      'groupNorm',
    );
  });

  it.each([
    ['first', 0, 'passes'],
    ['first', 0, 'subgroup'],
    ['last', 899, 'subgroup'],
    ['last', 899, 'slab'],
    ['last', 899, 'chunks'],
  ] as const)('keeps its precision when the %s pixel is 6·10⁴', async (_, pixel, algorithm) => {
    const device = await openDevice(adapter, options);
    const [P, C, groups] = [900, 8, 2];
    const x = normals(4, P * C);
    x[pixel * C] = 6e4;
    x[pixel * C + 5] = -6e4;
    const stored = roundTo(dtype, x);
    const g = new Graph(dtype);
    const rows = { layout: 'rows', dtype } as const;
    g.output('y', groupNorm(g.input('x', [1, P, C], rows), undefined, undefined, { groups, eps: 1e-6, algorithm }));
    const { outputs } = await runGraph(device, g, { inputs: { x: stored } });
    const { out, gain } = groupNormReference(stored, { B: 1, P, C, groups }, { eps: 1e-6 });
    expectClose(
      outputs.y,
      out,
      out.map((v, i) => normTolerance(dtype, gain[i], v)),
      'groupNorm',
    );
  });
});

describe('groupNorm at 512²×128', () => {
  it('fills a binding of 128 MiB and needs a second dimension of the grid', async () => {
    const device = await openDevice(adapters().includes('lavapipe') ? 'lavapipe' : adapters()[0]);
    const [P, C, groups] = [512 * 512, 128, 32];
    const x = new Float32Array(P * C);
    const u = uniform(5);
    for (let i = 0; i < x.length; i++) x[i] = u() * 4 - 1;
    const g = new Graph();
    g.output(
      'y',
      groupNorm(g.input('x', [1, 512, 512, C], { layout: 'rows' }), undefined, undefined, { groups, eps: 1e-6 }),
    );
    const { outputs, dispatches } = await runGraph(device, g, {
      inputs: { x },
      tunables: { groupNormApply: { ROWS: 1 } },
    });
    expect(dispatches.at(-1)!.grid[1]).toBeGreaterThan(1);
    // One group by the reference; its channels stand 128 apart.
    const one = new Float32Array(P * 4);
    const got = new Float32Array(P * 4);
    for (let p = 0; p < P; p++) {
      for (let i = 0; i < 4; i++) [one[p * 4 + i], got[p * 4 + i]] = [x[p * C + 124 + i], outputs.y[p * C + 124 + i]];
    }
    const { out, gain } = groupNormReference(one, { B: 1, P, C: 4, groups: 1 }, { eps: 1e-6 });
    expectClose(
      got,
      out,
      out.map((v, i) => normTolerance('f32', gain[i], v)),
      'groupNorm',
    );
  });
});

describe('groupNorm shapes', () => {
  it('cuts maps into chunks that fill the machine and stay bounded', () => {
    for (const columns of [1, 32, 320, 4096]) {
      for (const P of [1, 15, 16, 17, 1024, 262144]) {
        for (const software of [true, false]) {
          const rows = rowsPerChunk(columns, P, software);
          expect(rows).toBeGreaterThanOrEqual(Math.min(16, P));
          expect(rows).toBeLessThanOrEqual(P);
          expect(Math.ceil(P / rows)).toBeLessThanOrEqual(256);
        }
      }
    }
  });

  it('lets lanes stand side by side where slabs allow it and enough of them remain', () => {
    const of = (C: number, G: number, B = 1) => lanesOver({ B, P: 64, C4: C / 4, G, size: C / G }, 8);
    expect(of(128, 32)).toEqual({ slab: 8, across: 8 });
    expect(of(320, 32)).toEqual({ slab: 8, across: 4 });
    expect(of(1280, 32)).toEqual({ slab: 4, across: 8 });
    expect(of(96, 32)).toEqual({ slab: 8, across: 2 });
    expect(of(32, 4)).toEqual({ slab: 1, across: 2 });
    // All channels in one slab would leave one core alone with them.
    expect(of(24, 4)).toEqual({ slab: 2, across: 1 });
    expect(of(24, 4, 4)).toEqual({ slab: 4, across: 2 });
  });

  it('takes one dispatch on processors where their cores find slabs, and three for large maps', () => {
    const caps = { software: true, subgroupSize: 8 } as Capabilities;
    const map = { B: 1, P: 256 * 256, C4: 32, G: 32, size: 4 };
    expect(subgroupPays(map, caps)).toBe(true);
    expect(subgroupPays({ ...map, P: 256 * 256 + 1 }, caps)).toBe(false);
    expect(subgroupPays({ ...map, G: 1, size: 128 }, caps)).toBe(false);
    expect(subgroupPays({ ...map, G: 1, size: 128, P: 256 }, caps)).toBe(true);
    expect(subgroupPays(map, { ...caps, software: false })).toBe(false);
    expect(subgroupPays(map, { ...caps, subgroupSize: 0 })).toBe(false);
    expect(() => expectSubgroups({ ...caps, subgroupSize: 0 })).toThrow(/subgroups of 8, 4, 16.*got none/);
  });

  it('shares a shader among norms of one and of two tensors where translating one takes long', () => {
    const g = new Graph();
    const [x, y] = ['x', 'y'].map((name) => g.input(name, [1, 8, 8, 16], { layout: 'rows' }));
    const norm = { groups: 4, eps: 1e-5 };
    g.output('out', groupNorm(concat(groupNorm(x, undefined, undefined, norm), y), undefined, undefined, norm));
    const [first] = g.nodes;
    const shares = (subgroupSize: number) =>
      lowerNodes(g, [first], { ...DEFAULT_CAPABILITIES, software: true, subgroupSize })[0].tunables.HAS_SECOND;
    expect([4, 8, 16].map(shares)).toEqual([false, true, true]);
  });

  it('names what does not fit', () => {
    const g = new Graph();
    const x = g.input('x', [1, 4, 4, 6], { layout: 'rows' });
    const o = { groups: 2, eps: 1e-5 };
    expect(() => groupNorm(x, undefined, undefined, { ...o, groups: 4 })).toThrow(/groups that divide C=6, got 4/);
    expect(() => groupNorm(x, undefined, undefined, { ...o, eps: -1 })).toThrow(InvalidArgumentError);
    expect(() => groupNorm(x, { key: 'norm.weight', shape: [5] }, undefined, o)).toThrow(
      /weight \[6\], got norm.weight \[5\]/,
    );
    expect(() => groupNorm(g.input('flat', [6], { layout: 'rows' }), undefined, undefined, o)).toThrow(ShapeError);
  });
});
