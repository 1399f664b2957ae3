/** Norms computed in the loads of the convolution behind them, with the statistics that the one in front has left. */
import { describe, expect, it } from 'vitest';
import { Graph, type Dispatch, type Tensor } from '../../src/engine/index.ts';
import { concat } from '../../src/kernels/concat.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { add, unary } from '../../src/kernels/elementwise.ts';
import { groupNorm } from '../../src/kernels/groupNorm.ts';
import { optionalRewrites, rewrites } from '../../src/kernels/rewrites.ts';
import { convReference, type ConvCase } from '../reference/conv.ts';
import { groupNormReference } from '../reference/norm.ts';
import { dotTolerance, expectClose, normTolerance, winogradTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { forms, openDevice, runGraph, withoutSubgroups } from '../support/runGraph.ts';

const TAPS = { R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 };
const ALL = [...rewrites, ...optionalRewrites];
const EPS = 1e-5;
const weight = (key: string, ...shape: number[]) => ({ key, shape });
const force = (way: string) => ({ get: () => way });

interface Case {
  dtype: 'f32' | 'f16';
  way: string;
  B: number;
  H: number;
  W: number;
  C: number;
  groups: number;
  O: number;
  act: 'none' | 'silu' | 'sigmoid' | 'gelu';
  gamma?: Float32Array;
  beta?: Float32Array;
}

/** conv(act(norm(x))) of stored values x, and how far a right result may be from it. */
function truth(x: Float32Array, w: Float32Array, k: Case): { want: Float64Array; tolerance: number } {
  const { dtype, B, H, W, C, groups, O, act, gamma, beta } = k;
  const { out, gain } = groupNormReference(x, { B, P: H * W, C, groups }, { gamma, beta, act, eps: EPS });
  const sizes: ConvCase = { B, H, W, I: C, O, ...TAPS };
  const largest = out.reduce((a, v) => Math.max(a, Math.abs(v)), 1);
  const ofNorm = out.reduce((a, v, i) => Math.max(a, normTolerance(dtype, gain[i], v)), 0);
  let weights = 0;
  for (let o = 0; o < O; o++) {
    const sum = w.subarray(o * 9 * C, (o + 1) * 9 * C).reduce((s, v) => s + Math.abs(v), 0);
    weights = Math.max(weights, sum);
  }
  const tile = /^winograd([24])/.exec(k.way)?.[1];
  const ofConv = tile
    ? winogradTolerance(dtype, Number(tile) as 2 | 4, 9 * C, largest)
    : dotTolerance(dtype, 9 * C, largest);
  return { want: convReference(out, w, sizes), tolerance: ofConv + weights * ofNorm };
}

const WAYS = [
  { way: 'winograd4 1 folded', act: 'silu' },
  { way: 'winograd4 0 folded', act: 'sigmoid' },
  { way: 'winograd2 1 folded', act: 'silu' },
  { way: 'winograd2 0 folded', act: 'none' },
  { way: 'winograd2 1', act: 'silu' },
  { way: 'plain', act: 'gelu' },
  { way: 'plain folded', act: 'gelu' },
  { way: 'tile 32 folded', act: 'sigmoid' },
] as const;

const FORMS = forms();

const cases = pairwise({
  form: FORMS,
  ways: WAYS,
  B: [1, 2],
  H: [3, 4, 9],
  W: [3, 8, 13],
  // Groups of one channel, of ten, across the border of a vec4, of several.
  split: [
    [1, 1],
    [6, 3],
    [13, 1],
    [20, 2],
    [24, 8],
  ] as const,
  O: [5, 16],
  // Channels of a second tensor, behind those of the first.
  second: [0, 3],
  affine: [true, false],
  data: [
    { mean: 0, std: 1 },
    { mean: 1000, std: 1 },
    { mean: -300, std: 200 },
  ],
});

describe.each(FORMS)('convolutions behind norms on $adapter, $storage', (form) => {
  const { adapter, dtype, options } = form;
  const possible = cases
    .filter((k) => k.form === form && (dtype === 'f32' || !k.ways.way.startsWith('winograd4')))
    // Two tensors are only joined by minimal filtering.
    .filter((k) => !/^(plain|tile).*folded/.test(k.ways.way) || k.second === 0)
    // SwiftShader takes seconds for every kernel with kilobytes of workgroup memory.
    .filter((k) => adapter !== 'swiftshader' || !k.ways.way.startsWith('tile'));
  it.each(possible)('$ways.way $ways.act: $B×$H×$W×$split→$O mean=$data.mean second=$second', async (k) => {
    const { B, H, W, O, ways } = k;
    const [C, groups] = k.split;
    const device = await openDevice(adapter, / 0|plain/.test(ways.way) ? withoutSubgroups(options) : options);
    const x = roundTo(dtype, normals(1, B * H * W * C, k.data));
    const w = roundTo(dtype, normals(2, O * 9 * C, { std: 1 / Math.sqrt(9 * C) }));
    const [gamma, beta] = [normals(3, C, { mean: 1 }), normals(4, C)];
    const g = new Graph(dtype);
    const rows = { layout: 'rows', dtype } as const;
    const split = k.second > 0 && C > 4 ? 4 * Math.ceil((C - k.second) / 4 - 1) || 4 : C;
    const parts = [split, C - split].filter((n) => n > 0).map((n, i) => g.input(`x${i}`, [B, H, W, n], rows));
    const normal = groupNorm(
      parts.length === 1 ? parts[0] : concat(parts[0], parts[1]),
      k.affine ? weight('gamma', C) : undefined,
      k.affine ? weight('beta', C) : undefined,
      { groups, eps: EPS, act: ways.act },
    );
    g.output('y', conv2d(normal, weight('w', O, C, 3, 3), undefined, { padding: 1 }));
    const channels = (from: number, to: number) => x.filter((_, i) => i % C >= from && i % C < to);
    const inputs: Record<string, Float32Array> = { x0: channels(0, split) };
    if (split < C) inputs.x1 = channels(split, C);
    const { outputs, dispatches } = await runGraph(device, g, {
      ...{ inputs, weights: { w, gamma, beta }, rewrites: ALL, choices: force(ways.way) },
      caps: ways.way.startsWith('tile') ? { software: false } : {},
    });
    const names = dispatches.map(({ kernel }) => kernel.name);
    const folded = ways.way.endsWith('folded');
    expect(names.some((name) => /^groupNorm(Apply|Subgroup|Slab)/.test(name))).toBe(!folded);
    const own = k.affine ? { gamma, beta } : {};
    const { want, tolerance } = truth(x, w, { dtype, ...ways, B, H, W, C, groups, O, ...own });
    expectClose(outputs.y, want, tolerance, ways.way);
  });
});

const [B, H, W] = [2, 17, 18];
const rowsOf = (g: Graph, name: string, C: number) => g.input(name, [B, H, W, C], { layout: 'rows' });

/** What a norm reads, of a convolution's result and by the graph. */
type Parts = (h: Tensor, g: Graph) => Tensor[];

const residual: Parts = (h, g) => [add(h, rowsOf(g, 'r', h.shape[3]), { alpha: 0.5, beta: 0.5 })];
const both: Parts = (h, g) => {
  const C = h.shape[3];
  return [h, conv2d(g.inputs.get('x')!, weight('w3', C, 8, 3, 3), weight('b1', C), { padding: 1 })];
};

/**
 * A convolution, a norm of its result, which has a mean far above its deviation, and another convolution.
 * @param card as cards compute it: no lanes that share, and loops of known length.
 */
async function expectChain(
  adapter: string,
  C: number,
  groups: number,
  parts: Parts,
  card = false,
): Promise<readonly Dispatch[]> {
  const way = `winograd4 ${card ? 0 : 1} folded`;
  const g = new Graph();
  const h = parts(conv2d(rowsOf(g, 'x', 8), weight('w1', C, 8, 3, 3), weight('b1', C), { padding: 1 }), g);
  h.forEach((t, i) => g.output(`h${i}`, t));
  const normal = groupNorm(h.length === 1 ? h[0] : concat(h[0], h[1]), undefined, undefined, {
    ...{ groups, eps: EPS, act: 'silu' },
  });
  const wide = C * h.length;
  g.output('y', conv2d(normal, weight('w2', 12, wide, 3, 3), undefined, { padding: 1 }));
  const w2 = normals(4, 12 * 9 * wide, { std: 1 / Math.sqrt(9 * wide) });
  const run = {
    inputs: { x: normals(1, B * H * W * 8), r: normals(2, B * H * W * C, { mean: 1000 }) },
    weights: {
      ...{ w1: normals(3, C * 72, { std: 1 / 8 }), w3: normals(6, C * 72, { std: 1 / 8 }) },
      ...{ b1: normals(5, C, { mean: 1000 }), w2 },
    },
    // The first convolution has no norm that it could take in.
    choices: { get: (key: string) => (key.endsWith(' norm') ? way : way.replace(' folded', '')) },
  };
  const device = await openDevice(adapter, card ? withoutSubgroups({}) : {});
  const caps = card ? { software: false } : {};
  const { outputs, dispatches } = await runGraph(device, g, { ...run, rewrites: ALL, caps });
  const off = await runGraph(device, g, run);
  const stored = Float32Array.from({ length: B * H * W * wide }, (_, i) => {
    const c = i % wide;
    return outputs[`h${Math.floor(c / C)}`][Math.floor(i / wide) * C + (c % C)];
  });
  const { want, tolerance } = truth(stored, w2, {
    ...{ dtype: 'f32', way, act: 'silu', B, H, W, C: wide, groups, O: 12 },
  });
  expectClose(outputs.y, want, tolerance, 'behind a norm');
  expectClose(outputs.y, off.outputs.y, tolerance, 'on is off');
  return dispatches;
}

const namesOf = (dispatches: readonly Dispatch[]) => dispatches.map(({ kernel }) => kernel.name);

describe.each(adapters())('statistics that a convolution leaves on %s', (adapter) => {
  it.each<[string, number, number, Parts]>([
    ['groups of ten channels', 20, 2, (h) => [h]],
    ['what is stored, with its residual and factor', 6, 3, residual],
    ['two convolutions, across which groups lie', 8, 1, both],
  ])('are those of %s', async (_, C, groups, parts) => {
    const names = namesOf(await expectChain(adapter, C, groups, parts));
    expect(names).toContain('groupNormFinalise');
    expect(names).not.toContain('groupNormStats');
  });

  it('are the same as cards compute them, in loops of known length', async () => {
    const dispatches = await expectChain(adapter, 6, 3, residual, true);
    expect(namesOf(dispatches)).not.toContain('groupNormStats');
    const leaves = dispatches.filter(({ tunables }) => tunables.STATS === true);
    expect(leaves.map(({ kernel, tunables }) => [kernel.name, tunables.FIXED])).toEqual([['winograd4Output', true]]);
  });

  it('are gathered by the norm where one of two has none', async () => {
    const names = namesOf(await expectChain(adapter, 8, 4, (h, g) => [h, unary(rowsOf(g, 'r', 8), { alpha: 2 })]));
    expect(names.filter((name) => name === 'groupNormStats')).toHaveLength(2);
  });
});
