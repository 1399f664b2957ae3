/**
 * Linear layers that normalise the rows they bring in: layer norms, and those whose scale and shift come from a
 * condition.
 */
import { describe, expect, it } from 'vitest';
import { Graph, lowerNodes, Program, rewriteGraph, Weights, type Device, type Tensor } from '../../src/engine/index.ts';
import { layerNorm } from '../../src/kernels/layerNorm.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { adaptiveNorm, gatedAdd } from '../../src/kernels/modulation.ts';
import { rewrites } from '../../src/kernels/rewrites.ts';
import { slice } from '../../src/kernels/slice.ts';
import { gatedDense } from '../../src/models/blocks/gatedDense.ts';
import { WeightScope } from '../../src/models/weightScope.ts';
import { activation, type ActivationName } from '../reference/activation.ts';
import { linearReference } from '../reference/linear.ts';
import { layerNormReference } from '../reference/norm.ts';
import { dotTolerance, expectClose, normTolerance } from '../support/close.ts';
import { openMatrixDevice } from '../support/emulateMatrices.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { forms, openDevice, runGraph, type RunOptions } from '../support/runGraph.ts';

const EPS = 1e-5;
const weight = (key: string, ...shape: number[]) => ({ key, shape });
const force = (way: string) => ({ get: () => way });

/** Without weights, with the first of them, with both; with scale and shift from a condition. */
type Norm = 'bare' | 'gamma' | 'affine' | 'vectors';

const DATA = {
  plain: { mean: 0, std: 1 },
  'far from zero': { mean: 1e4, std: 1 },
  'with one channel far above all others': { mean: 0, std: 1, outlier: 1000 },
} as const;

interface Case {
  dtype: 'f32' | 'f16';
  norm: Norm;
  data: keyof typeof DATA;
  /** Items, and rows of each. */
  B: number;
  T: number;
  K: number;
  N: number;
  act: ActivationName;
  bias: boolean;
  /** What is added, through a gate or not. */
  adds: 'nothing' | 'residual' | 'gated residual';
  gated?: boolean;
}

/** What a case reads, records and should give. */
function setUp({ dtype, norm, data, B, T, K, N, act, bias, adds, gated = false }: Case) {
  const M = B * T;
  const { mean, std, outlier } = { outlier: 0, ...DATA[data] };
  const raw = normals(1, M * K, { mean, std });
  if (outlier) for (let m = 0; m < M; m++) raw[m * K + (m % K)] = outlier;
  const columns = gated ? 2 * N : N;
  // Channels of scale and shift in a row of m, and of the gate.
  const K4 = 4 * Math.ceil(K / 4);
  const [scale, shift, gate, wide] = [4, K4 + 8, 2 * K4 + 8, 2 * K4 + 8 + 4 * Math.ceil(N / 4)];
  const stored = (seed: number, n: number, std = 1) => roundTo(dtype, normals(seed, n, { std }));
  const inputs = { x: roundTo(dtype, raw), m: stored(2, B * wide, 0.5), r: stored(3, M * N) };
  const weights = {
    ...{ w: stored(4, columns * K, 1 / Math.sqrt(K)), b: normals(5, columns) },
    ...{ 'ff.weight': stored(4, columns * K, 1 / Math.sqrt(K)), 'ff.bias': normals(5, columns) },
    ...{ gamma: normals(6, K, { mean: 1 }), beta: normals(7, K) },
  };
  const record = () => {
    const g = new Graph(dtype);
    const input = (name: string, ...shape: number[]) => g.input(name, shape, { layout: 'rows', dtype });
    const [x, m, r] = [input('x', B, T, K), input('m', B, wide), input('r', B, T, N)];
    const n =
      norm === 'vectors'
        ? adaptiveNorm(x, m, { scale, shift, eps: EPS })
        : layerNorm(
            x,
            norm === 'bare' ? undefined : weight('gamma', K),
            norm === 'affine' ? weight('beta', K) : undefined,
            { eps: EPS },
          );
    const own = bias ? weight('b', N) : undefined;
    const residual = adds === 'residual' ? r : undefined;
    let y: Tensor = gated
      ? gatedDense(new WeightScope('ff'), n, N, act)
      : linear(n, weight('w', N, K), own, { act, residual });
    if (adds === 'gated residual') y = gatedAdd(r, y, m, gate);
    g.output('y', y);
    return g;
  };

  const normal = new Float64Array(M * K);
  let ofNorm = 0;
  for (let i = 0; i < B; i++) {
    const at = i * wide;
    const gamma = norm === 'vectors' ? inputs.m.slice(at + scale, at + scale + K).map((v) => 1 + v) : weights.gamma;
    const beta = norm === 'vectors' ? inputs.m.slice(at + shift, at + shift + K) : weights.beta;
    const { out, gain } = layerNormReference(
      inputs.x.subarray(i * T * K, (i + 1) * T * K),
      { M: T, D: K },
      {
        eps: EPS,
        gamma: norm === 'bare' ? undefined : gamma,
        beta: norm === 'affine' || norm === 'vectors' ? beta : undefined,
      },
    );
    normal.set(out, i * T * K);
    out.forEach((v, k) => (ofNorm = Math.max(ofNorm, normTolerance('f32', gain[k], v))));
  }
  const sums = linearReference(
    normal,
    weights.w,
    { M, N: columns, K },
    { bias: bias || gated ? weights.b : undefined },
  );
  const want = Float64Array.from({ length: M * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    const [value, other] = [sums[m * columns + n], sums[m * columns + N + n]];
    const acted = gated ? value * activation(other, act) : activation(value, act);
    const factor = adds === 'gated residual' ? inputs.m[Math.floor(m / T) * wide + gate + n] : 1;
    return acted * factor + (adds === 'nothing' ? 0 : inputs.r[i]);
  });
  let ofWeights = 0;
  for (let n = 0; n < columns; n++) {
    ofWeights = Math.max(
      ofWeights,
      weights.w.subarray(n * K, (n + 1) * K).reduce((s, v) => s + Math.abs(v), 0),
    );
  }
  const largest = (v: Float64Array) => v.reduce((a, e) => Math.max(a, Math.abs(e)), 1);
  // Of a gated layer either factor is multiplied by the other.
  const reach = gated ? 2 * largest(sums) : 2;
  const tolerance =
    reach * (dotTolerance(dtype, K, largest(normal)) + ofWeights * ofNorm) + dotTolerance(dtype, 2, largest(want));
  return { record, inputs, weights, want, tolerance };
}

async function expectRight(c: Case, device: Device, way: string, options: RunOptions = {}) {
  const { record, inputs, weights, want, tolerance } = setUp(c);
  const run = { inputs, weights, choices: force(way), ...options };
  const { outputs, dispatches } = await runGraph(device, record(), { ...run, rewrites });
  expect(dispatches.map(({ kernel }) => kernel.name)).toEqual([
    way.startsWith('matrix') ? 'matmulMatrixNorm' : 'matmulTileNorm',
  ]);
  expectClose(outputs.y, want, tolerance, way);
}

const FORMS = forms();
/** As small as they can be and bring in two rows each: compiling is what costs on a software adapter. */
const SMALL = { WG_N: 4, WG_M: 8, ROWS: 4, COLS: 1, K4S: 2, EXACT: false };

/**
 * One or two pipelines each. Rows end within a vec4 or not; have less than one for each invocation, or rounds of loads.
 */
const WAYS = [
  { norm: 'bare', Ks: [3, 31, 517], act: 'none', bias: true, adds: 'nothing' },
  { norm: 'gamma', Ks: [4, 68, 260], act: 'sigmoid', bias: false, adds: 'residual' },
  { norm: 'affine', Ks: [3, 31, 517], act: 'silu', bias: true, adds: 'residual' },
  { norm: 'vectors', Ks: [4, 68, 520], act: 'none', bias: true, adds: 'gated residual' },
] as const;

const cases = pairwise({
  form: FORMS,
  ways: WAYS,
  size: [0, 1, 2],
  B: [1, 3],
  T: [1, 11, 40],
  N: [4, 5, 66],
  data: Object.keys(DATA) as Case['data'][],
});

describe.each(FORMS)('linear behind a norm on $adapter, $storage', (form) => {
  const { adapter, dtype, options } = form;
  const own = cases
    .filter((c) => c.form === form)
    // Gates are vec4s.
    .map(({ ways: { Ks, ...of }, size, N, ...c }) => {
      return { ...c, ...of, K: Ks[size], N: of.adds === 'gated residual' ? 4 * Math.ceil(N / 4) : N };
    });
  it.each(own)('$norm: $B×$T×$K→$N $act, $adds, $data', async (c) => {
    const device = await openDevice(adapter, options);
    const run = { tunables: { matmulTileNorm: SMALL }, caps: { software: false } };
    await expectRight({ ...c, dtype }, device, 'tile 32 folded', run);
  });
});

describe.each(adapters())('linear behind a norm on %s', (adapter) => {
  it.each<[string, Partial<Case>, string]>([
    ['gated', { gated: true, act: 'gelu', N: 20 }, 'tile 64 folded'],
    ['gated, of tiles that divide it', { gated: true, act: 'gelu', B: 2, T: 32, K: 64, N: 64 }, 'tile 64 folded'],
    ['of long rows far from zero', { norm: 'affine', data: 'far from zero', K: 517 }, 'tile 64 folded'],
    ['of tiles that divide it', { B: 4, T: 32, K: 64, N: 128 }, 'tile 128 folded'],
  ])('%s', async (_, part, way) => {
    const base = { dtype: 'f32', norm: 'vectors', data: 'plain', B: 2, T: 21, K: 36, N: 20 } as const;
    const c = { ...base, act: 'none', bias: true, adds: 'nothing', ...part } as Case;
    // SwiftShader takes seconds for every kernel with kilobytes of workgroup memory.
    const tunables: RunOptions['tunables'] = adapter === 'swiftshader' ? { matmulTileNorm: { ...SMALL, COLS: 2 } } : {};
    await expectRight(c, await openDevice(adapter), way, { tunables, caps: { software: false } });
  });

  it('reads conditions out of rows that were recorded as a sequence', async () => {
    const [B, T, D] = [3, 5, 8];
    const g = new Graph();
    const m = g.view(slice(g.input('m', [1, B, 4 * D], { layout: 'rows' }), D, 4 * D), [B, 3 * D]);
    const x = g.input('x', [B, T, D], { layout: 'rows' });
    const n = adaptiveNorm(x, m, { scale: 0, shift: D, eps: EPS });
    g.output('y', gatedAdd(x, linear(n, weight('w', D, D), weight('b', D)), m, 2 * D));
    const run = {
      inputs: { x: normals(1, B * T * D), m: normals(2, B * 4 * D) },
      weights: { w: normals(3, D * D, { std: 1 / Math.sqrt(D) }), b: normals(4, D) },
    };
    const device = await openDevice(adapter);
    const off = await runGraph(device, g, run);
    const on = await runGraph(device, g, {
      ...{ ...run, rewrites, choices: force('tile 32 folded'), caps: { software: false } },
      tunables: { matmulTileNorm: SMALL },
    });
    expect(on.dispatches).toHaveLength(1);
    expectClose(on.outputs.y, off.outputs.y, dotTolerance('f32', D, 20), 'on is off');
  });

  it('is on a processor what it was: the same dispatches', async () => {
    const { caps } = await openDevice(adapter);
    const { record } = setUp({
      ...{ dtype: 'f32', norm: 'affine', data: 'plain', B: 2, T: 33, K: 31, N: 12, act: 'silu', bias: true },
      adds: 'residual',
    });
    const [g, off] = [record(), new Set(['fold-layer-norm'])];
    const without = lowerNodes(g, rewriteGraph(g, rewrites, off).nodes, caps);
    const { nodes, fired } = rewriteGraph(g, rewrites);
    expect(fired['fold-layer-norm']).toBe(1);
    expect(lowerNodes(g, nodes, caps)).toEqual(without);
  });
});

// SwiftShader takes seconds for every kernel with kilobytes of workgroup memory.
describe.each(adapters().filter((name) => name !== 'swiftshader'))(
  'layers that add what their norm reads on %s',
  (adapter) => {
    it('do not write over it before all have read it', async () => {
      const device = await openDevice(adapter, { label: 'as a card' });
      Object.assign(device.caps, { software: false, subgroupSize: 0 });
      const [B, T, D] = [2, 60, 64];
      const record = () => {
        const g = new Graph();
        const m = g.input('m', [B, 3 * D], { layout: 'rows' });
        let x = linear(g.input('x', [B, T, D], { layout: 'rows' }), weight('w0', D, D));
        for (const i of [1, 2]) {
          const n = adaptiveNorm(x, m, { scale: 0, shift: D, eps: EPS });
          x = gatedAdd(x, linear(n, weight(`w${i}`, D, D)), m, 2 * D);
        }
        g.output('y', linear(x, weight('w3', D, D)));
        return g;
      };
      const inputs = { x: normals(1, B * T * D), m: normals(2, B * 3 * D, { std: 0.5 }) };
      const weights: Record<string, Float32Array> = {};
      for (const i of [0, 1, 2, 3]) weights[`w${i}`] = normals(10 + i, D * D, { std: 1 / Math.sqrt(D) });
      const off = await runGraph(device, record(), { inputs, weights, caps: { software: true } });
      const source = {
        ...{ name: 'drawn', keys: () => Object.keys(weights) },
        ...{ info: () => ({ dtype: 'F32', shape: [D, D] }) as const, read: async (key: string) => weights[key] },
      };
      const program = await Program.compile(device, record(), new Weights(device, source), { rewrites });
      expect(program.report.kernels.matmulTileNorm).toBe(2);
      for (const [name, data] of Object.entries(inputs)) {
        device.gpu.queue.writeBuffer(program.inputBuffer(name), 0, data as Float32Array<ArrayBuffer>);
      }
      await program.run();
      const largest = off.outputs.y.reduce((a, v) => Math.max(a, Math.abs(v)), 1);
      expectClose(await program.read('y'), off.outputs.y, dotTolerance('f32', 6 * D, largest), 'on is off');
      program.dispose();
    });
  },
);

// Those that SwiftShader translates in seconds.
const MATRICES: [way: string, c: Partial<Case>][] = [
  ['matrix 64 folded', { norm: 'vectors', B: 3, T: 30, K: 72, N: 44, adds: 'gated residual' }],
  ['matrix 64 folded', { norm: 'affine', B: 1, T: 90, K: 70, N: 44, gated: true, act: 'gelu' }],
  ['matrix 128 folded', { norm: 'affine', B: 2, T: 64, K: 560, N: 128, data: 'far from zero' }],
  ['matrix 128x64 folded', { norm: 'gamma', B: 1, T: 140, K: 37, N: 70, adds: 'residual', act: 'sigmoid' }],
  [
    'matrix 128 deep folded',
    { norm: 'vectors', B: 2, T: 65, K: 340, N: 160, data: 'with one channel far above all others' },
  ],
];

describe.each(adapters())('linear behind a norm by subgroup matrices on %s', (adapter) => {
  const base = { dtype: 'f16', data: 'plain', act: 'none', bias: true, adds: 'nothing' } as const;
  const options = adapter === 'swiftshader' ? { without: ['shader-f16' as const] } : { limits: 'raised' as const };
  const here = adapter === 'swiftshader' ? MATRICES.slice(0, 1) : MATRICES;
  it.each(here)('%s %o', async (way, part) => {
    await expectRight({ ...base, ...part } as Case, await openMatrixDevice(adapter, options), way);
  });
});
