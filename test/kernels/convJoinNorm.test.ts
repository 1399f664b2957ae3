/**
 * Convolutions in parts whose result only a group norm reads: joined and normalised in one dispatch. Subgroup matrices,
 * which compute in parts, are emulated (`test/support/emulateMatrices.ts`).
 */
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  Graph,
  lowerNodes,
  rewriteGraph,
  type Capabilities,
  type ChoicePlace,
  type MatrixForm,
} from '../../src/engine/index.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { add, unary } from '../../src/kernels/elementwise.ts';
import { groupNorm } from '../../src/kernels/groupNorm.ts';
import { rewrites } from '../../src/kernels/rewrites.ts';
import { slice } from '../../src/kernels/slice.ts';
import type { ActivationName } from '../reference/activation.ts';
import { convHeight, convReference, convWidth, type ConvCase } from '../reference/conv.ts';
import { groupNormReference } from '../reference/norm.ts';
import { dotTolerance, expectClose, normTolerance } from '../support/close.ts';
import { openMatrixDevice } from '../support/emulateMatrices.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

const EPS = 1e-5;
const FOLDED = 'matrix split folded';
const SAME = { R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 };
const weight = (key: string, ...shape: number[]) => ({ key, shape });
const force = (way: string) => ({ get: () => way });

interface Case extends ConvCase {
  name: string;
  /** Sizes of the matrices; default 16×16×16. */
  form?: MatrixForm;
  groups: number;
  /** Of the norm. */
  act: ActivationName;
  affine?: boolean;
  factor?: number;
  /** Of the convolution. */
  before?: ActivationName;
  shift?: boolean;
  residual?: boolean;
  scale?: number;
  /** Mean of the bias. */
  mean?: number;
}

const CASES: Case[] = [
  {
    name: 'a block of a U-Net: shift out of wider rows, groups of twelve channels',
    ...{ ...SAME, B: 2, H: 6, W: 7, I: 58, O: 72, groups: 6, act: 'silu', affine: true, shift: true },
  },
  {
    name: 'groups across the borders of vec4s, the last slab narrower, values far from zero',
    ...{ ...SAME, form: '8x8x8', B: 1, H: 7, W: 9, I: 58, O: 70, groups: 7, act: 'gelu', affine: true, mean: 1000 },
  },
  {
    name: 'workgroups that share a slab, behind a residual and factors, without weights',
    ...{ ...SAME, form: '8x16x16', B: 2, H: 10, W: 17, I: 58, O: 36, groups: 3, act: 'none', factor: 0.5 },
    ...{ before: 'silu' as const, residual: true, scale: 0.5 },
  },
  {
    name: 'groups of one channel that end within a vec4, every other pixel',
    ...{ R: 3, S: 3, stride: 2, top: 0, left: 0, bottom: 1, right: 1, B: 2, H: 10, W: 14, I: 60, O: 33 },
    ...{ groups: 33, act: 'sigmoid', affine: true },
  },
];

/** What a case reads, records and should give. */
function setUp(k: Case) {
  const { B, H, W, I, O, R, S, stride, top, left, bottom, right, groups, act, affine, factor, before, scale = 1 } = k;
  const [OH, OW] = [convHeight(k), convWidth(k)];
  const half = (seed: number, n: number, std = 1) => roundTo('f16', normals(seed, n, { std }));
  const wide = 4 * Math.ceil(O / 4) + 8;
  const inputs = { x: half(1, B * H * W * I), time: half(2, B * wide), r: half(3, B * OH * OW * O) };
  const weights = {
    ...{ w: half(4, O * I * R * S, 1 / Math.sqrt(I * R * S)), b: normals(5, O, { mean: k.mean ?? 0 }) },
    ...{ gamma: normals(6, O, { mean: 1 }), beta: normals(7, O) },
  };
  const record = () => {
    const g = new Graph('f16');
    const input = (name: string, ...shape: number[]) => g.input(name, shape, { layout: 'rows', dtype: 'f16' });
    const [x, time, r] = [input('x', B, H, W, I), input('time', B, wide), input('r', B, OH, OW, O)];
    const h = conv2d(x, weight('w', O, I, R, S), weight('b', O), {
      ...{ stride, padding: { top, left, bottom, right }, act: before, scale },
      shift: k.shift ? slice(time, 8, 8 + O) : undefined,
      residual: k.residual ? r : undefined,
    });
    const of = affine ? [weight('gamma', O), weight('beta', O)] : [];
    g.output('y', groupNorm(g.view(h, [B, OH * OW, O]), of[0], of[1], { groups, eps: EPS, act, scale: factor }));
    return g;
  };
  const shift = Float32Array.from({ length: B * O }, (_, i) => inputs.time[Math.floor(i / O) * wide + 8 + (i % O)]);
  const map = convReference(inputs.x, weights.w, k, {
    ...{ bias: weights.b, shift: k.shift ? shift : undefined, residual: k.residual ? inputs.r : undefined },
    ...{ act: before, scale },
  });
  const own = affine ? { gamma: weights.gamma, beta: weights.beta } : {};
  const { out, gain } = groupNormReference(map, { B, P: OH * OW, C: O, groups }, { ...own, act, eps: EPS });
  const want = out.map((v) => v * (factor ?? 1));
  // What the sums are off by, relative to the largest, grows as a rounding of the norm's input does.
  const tolerance = want.map((v, i) => normTolerance('f16', gain[i], v) + gain[i] * dotTolerance('f32', I * R * S, 2));
  return { record, inputs, weights, want, tolerance };
}

describe.each(adapters())('convolutions in parts in front of norms on %s', (adapter) => {
  const options = adapter === 'swiftshader' ? { without: ['shader-f16' as const] } : {};
  // SwiftShader takes seconds to translate each.
  const here = adapter === 'swiftshader' ? CASES.slice(0, 1) : CASES;
  it.each(here)('$name', async (k) => {
    const device = await openMatrixDevice(adapter, options, { form: k.form });
    const { record, inputs, weights, want, tolerance } = setUp(k);
    const run = { inputs, weights, rewrites, choices: force(FOLDED) };
    const { outputs, dispatches } = await runGraph(device, record(), run);
    expect(dispatches.map(({ kernel }) => kernel.name)).toEqual(['conv2dMatrixSplit', 'conv2dJoinNorm']);
    expectClose(outputs.y, want, tolerance, k.name);
  });

  it('is on a processor what it was: the same dispatches', async () => {
    const { caps } = await openDevice(adapter, options);
    const g = setUp(CASES[0]).record();
    const without = lowerNodes(g, rewriteGraph(g, rewrites, new Set(['join-norm'])).nodes, caps);
    const { nodes, fired } = rewriteGraph(g, rewrites);
    expect(fired['join-norm']).toBe(1);
    expect(lowerNodes(g, nodes, caps)).toEqual(without);
  });
});

// SwiftShader takes seconds to translate each.
it.each(adapters().filter((name) => name !== 'swiftshader'))(
  'on is off in a block with all around it on %s',
  async (adapter) => {
    const device = await openMatrixDevice(adapter);
    const [B, H, W, C] = [2, 5, 7, 60];
    const record = () => {
      const g = new Graph('f16');
      const input = (name: string, ...shape: number[]) => g.input(name, shape, { layout: 'rows', dtype: 'f16' });
      const [x, time] = [input('x', B, H, W, C), input('time', B, C)];
      const norm = (t: typeof x, i: number) =>
        unary(groupNorm(t, weight(`g${i}`, C), weight(`b${i}`, C), { groups: 3, eps: EPS }), { act: 'silu' });
      const conv = (t: typeof x, i: number) =>
        conv2d(t, weight(`w${i}`, C, C, 3, 3), weight(`b${i}`, C), { padding: 1 });
      const h = norm(add(conv(norm(x, 0), 1), time), 2);
      const sum = add(conv(h, 3), x);
      // The last is joined with its residual; the sum in front of it is read twice, and is not.
      g.output('y', norm(add(conv(norm(sum, 4), 5), sum), 6));
      return g;
    };
    const size = [1, 3, 5].map((i) => [`w${i}`, normals(i, C * C * 9, { std: 1 / Math.sqrt(9 * C) })] as const);
    const weights = Object.fromEntries([
      ...size,
      ...[0, 1, 2, 3, 4, 5, 6].map((i) => [`b${i}`, normals(10 + i, C)] as const),
      ...[0, 2, 4, 6].map((i) => [`g${i}`, normals(20 + i, C, { mean: 1 })] as const),
    ]);
    for (const [key, data] of size) weights[key] = roundTo('f16', data);
    const inputs = { x: roundTo('f16', normals(30, B * H * W * C)), time: roundTo('f16', normals(31, B * C)) };
    const choices = { get: (key: string) => (key.startsWith('conv2dNorm') ? FOLDED : 'matrix split') };
    const on = await runGraph(device, record(), { inputs, weights, choices, rewrites });
    const off = await runGraph(device, record(), { inputs, weights, choices: force('matrix split') });
    expect(rewriteGraph(record(), rewrites).fired['join-norm']).toBe(2);
    expect(on.dispatches.map(({ kernel }) => kernel.name)).toEqual([
      ...['groupNormSlab', 'conv2dMatrixSplit', 'conv2dJoinNorm', 'conv2dMatrixSplit', 'conv2dJoin'],
      ...['groupNormSlab', 'conv2dMatrixSplit', 'conv2dJoinNorm'],
    ]);
    const largest = off.outputs.y.reduce((a, v) => Math.max(a, Math.abs(v)), 1);
    expectClose(on.outputs.y, off.outputs.y, 8 * dotTolerance('f16', 9 * C, largest), 'on is off');
  },
);

describe('what is taken where nothing has been measured', () => {
  const dispatched = (caps: Partial<Capabilities>, side: number, I: number, O: number) => {
    const g = new Graph('f16');
    const x = g.input('x', [2, side, side, I], { layout: 'rows', dtype: 'f16' });
    const h = conv2d(x, weight('w', O, I, 3, 3), weight('b', O), { padding: 1 });
    g.output('y', groupNorm(h, weight('g', O), weight('b', O), { groups: 32, eps: EPS, act: 'silu' }));
    let place: ChoicePlace | undefined;
    const all = { ...DEFAULT_CAPABILITIES, f16: true, ...caps };
    const { nodes } = rewriteGraph(g, rewrites);
    const names = lowerNodes(g, nodes, all, { onChoice: (p) => (place = p) }).map(({ kernel }) => kernel.name);
    return { names, place: place! };
  };
  const ONE = ['conv2dMatrixSplit', 'conv2dJoinNorm'];

  it.each(['16x16x16', '8x16x16', '8x8x16', '8x8x8'] as const)('by matrices of %s', (matrices) => {
    expect(dispatched({ matrices }, 8, 1280, 1280).names).toEqual(ONE);
    expect(dispatched({ matrices }, 16, 1280, 1280).names).toEqual(ONE);
    expect(dispatched({ matrices }, 32, 640, 640).names.at(-1)).toBe('groupNormSlab');
    expect(dispatched({ matrices }, 64, 320, 320).names).toEqual(['conv2dMatrix', 'groupNormSlab']);
  });

  it('without matrices', () => {
    expect(dispatched({}, 16, 1280, 1280).names).toEqual(['conv2dTile', 'groupNormSlab']);
  });

  it('and what the tuner measures: parts with and without', () => {
    const { place } = dispatched({ matrices: '16x16x16' }, 16, 1280, 1280);
    expect(place.usual).toBe(FOLDED);
    expect(place.ways).toEqual(expect.arrayContaining(['matrix 128x64', 'matrix split', FOLDED]));
    expect(place.key).toMatch(/^conv2dNorm f16 /);
  });
});
