/** Rewrites that merge layers, read inputs where they lie, and put gates into epilogues: on gives what off gives. */
import { describe, expect, it } from 'vitest';
import { Graph, rewriteGraph, weightRows, type Choices, type Tensor } from '../../src/engine/index.ts';
import { attention } from '../../src/kernels/attention.ts';
import { concat } from '../../src/kernels/concat.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { add, mul, unary } from '../../src/kernels/elementwise.ts';
import { embedding } from '../../src/kernels/embedding.ts';
import { groupNorm } from '../../src/kernels/groupNorm.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { adaptiveNorm, gatedAdd } from '../../src/kernels/modulation.ts';
import { rewrites } from '../../src/kernels/rewrites.ts';
import { slice } from '../../src/kernels/slice.ts';
import { upsampleNearest } from '../../src/kernels/upsampleNearest.ts';
import { gatedDense } from '../../src/models/blocks/gatedDense.ts';
import { WeightScope } from '../../src/models/weightScope.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { onIsOff, type Recording } from '../support/onIsOff.ts';
import { normals } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

const [B, T, S, D] = [2, 5, 3, 12];
const rows = (g: Graph, name: string, ...shape: number[]) => g.input(name, shape, { layout: 'rows', dtype: g.dtype });
const dense = (x: Tensor, key: string, out: number, options: Parameters<typeof linear>[3] & { bias?: boolean } = {}) =>
  linear(
    x,
    { key, shape: [out, x.shape.at(-1)!] },
    options.bias === false ? undefined : { key: `${key}.b`, shape: [out] },
    options,
  );

/** Attention of x to `context`, whose keys and values are as wide as x. */
function attend(name: string, x: Tensor, context: Tensor, heads = 3): Tensor {
  const W = x.shape.at(-1)!;
  const q = dense(x, `${name}.q`, W, { bias: false });
  const [k, v] = [dense(context, `${name}.k`, W), dense(context, `${name}.v`, W, { bias: false })];
  return dense(attention(q, k, v, { heads }), `${name}.out`, W, { residual: x });
}

/** Two blocks whose vectors come from an embedding of their own each, as DiT's have it. */
const ditBlocks: Recording = (g) => {
  let x = rows(g, 'x', B, T, D);
  const time = rows(g, 'time', B, 8);
  const labels = g.input('labels', [B], { dtype: 'u32' });
  for (const i of [0, 1, 2]) {
    const y = embedding(labels, { key: `table${i}`, shape: [4, D] });
    const t = dense(dense(time, `one${i}`, D, { act: 'silu' }), `two${i}`, D);
    const m = dense(unary(add(t, y), { act: 'silu' }), `six${i}`, 3 * D);
    const n = adaptiveNorm(x, m, { shift: 0, scale: D, eps: 1e-6 });
    x = gatedAdd(x, dense(n, `ff${i}`, D, { act: 'gelu_tanh' }), m, 2 * D);
  }
  return [x];
};

const CASES: [what: string, fired: readonly string[], saved: number, build: Recording][] = [
  [
    'self-attention',
    ['merge-projections'],
    2,
    (g) => {
      const x = rows(g, 'x', B, T, D);
      return [attend('a', x, x)];
    },
  ],
  [
    'cross-attentions of two widths to one context',
    ['merge-projections'],
    3,
    (g) => {
      const context = rows(g, 'context', B, S, 8);
      return [attend('a', rows(g, 'x', B, T, D), context), attend('b', rows(g, 'y', B, T, 24), context, 2)];
    },
  ],
  [
    'shifts of convolutions from one vector',
    ['merge-projections'],
    1,
    (g) => {
      const [x, time] = [rows(g, 'x', B, 3, 4, 5), rows(g, 'time', B, 7)];
      const conv = (name: string, O: number) =>
        conv2d(x, { key: name, shape: [O, 5, 3, 3] }, undefined, { padding: 1, shift: dense(time, `${name}.t`, O) });
      return [conv('a', 8), conv('b', 4)];
    },
  ],
  [
    'projections of which one is activated later, behind a reader of the other',
    ['fold-activation', 'merge-projections'],
    2,
    (g) => {
      const x = rows(g, 'x', B, 7);
      const first = dense(dense(x, 'a', 8, { act: 'silu' }), 'a2', 5);
      return [first, dense(unary(dense(x, 'b', 8), { act: 'silu' }), 'b2', 5)];
    },
  ],
  ['GEGLU', ['merge-gated'], 2, (g) => [gatedDense(new WeightScope('ff'), rows(g, 'x', B, T, D), 20, 'gelu')]],
  [
    'a product of few rows',
    ['merge-gated'],
    2,
    (g) => [gatedDense(new WeightScope('ff'), rows(g, 'x', 1, 2, D), 20, 'none')],
  ],
  [
    'an activation of a gated product',
    ['merge-gated'],
    2,
    (g) => [unary(gatedDense(new WeightScope('ff'), rows(g, 'x', B, T, D), 20, 'none'), { act: 'silu' })],
  ],
  ['SwiGLU of a ragged width', [], 0, (g) => [gatedDense(new WeightScope('ff'), rows(g, 'x', B, T, D), 7, 'silu')]],
  [
    'a gate and a residual',
    ['fold-gate'],
    1,
    (g) => {
      const [x, m] = [rows(g, 'x', B, T, D), rows(g, 'm', B, 2 * D + 4)];
      return [gatedAdd(x, dense(rows(g, 'h', B, T, 7), 'w', D), m, D)];
    },
  ],
  [
    'gates that were recorded as a sequence',
    ['fold-gate', 'fold-slice'],
    2,
    (g) => {
      const m = g.view(slice(rows(g, 'm', 1, B, 3 * D), D, 3 * D), [B, 2 * D]);
      return [gatedAdd(rows(g, 'x', B, T, D), dense(rows(g, 'h', B, T, 7), 'w', D), m, D)];
    },
  ],
  [
    'what conditions each block alone',
    ['merge-projections', 'merge-vectors', 'merge-embeddings', 'fold-gate'],
    17,
    ditBlocks,
  ],
  [
    'one projection cut into three',
    ['fold-slice'],
    3,
    (g) => {
      const qkv = dense(rows(g, 'x', B, T, D), 'qkv', 3 * D);
      const [q, k, v] = [0, 1, 2].map((i) => slice(qkv, i * D, (i + 1) * D));
      return [attention(q, k, v, { heads: 3 })];
    },
  ],
  [
    'a skip connection under a norm and a shortcut',
    ['fold-concat'],
    0,
    (g) => {
      const joined = concat(rows(g, 'a', B, 3, 5, 8), rows(g, 'b', B, 3, 5, 6));
      const norm = { key: 'gamma', shape: [14] };
      // On processors a layer of two tensors takes two dispatches, and a norm of two takes five unless told otherwise:
      // no fewer, but the joined one is never written.
      const options = { groups: 2, eps: 1e-5, act: 'silu', algorithm: 'slab' } as const;
      const n = groupNorm(joined, norm, { key: 'beta', shape: [14] }, options);
      return [n, conv2d(joined, { key: 'shortcut', shape: [10, 14, 1, 1] })];
    },
  ],
  [
    'a doubled map beside a large one',
    ['fold-concat'],
    0,
    (g) => {
      const up = upsampleNearest(rows(g, 'x', B, 3, 5, 8), { height: 6, width: 10 });
      return [conv2d(concat(up, rows(g, 'y', B, 6, 10, 6)), { key: 'w', shape: [9, 14, 1, 1] })];
    },
  ],
  [
    'a doubled map',
    ['fold-upsample'],
    1,
    (g) => {
      const up = upsampleNearest(rows(g, 'x', B, 3, 5, 7), { height: 6, width: 10 });
      return [conv2d(up, { key: 'w', shape: [9, 7, 3, 3] }, { key: 'b', shape: [9] }, { padding: 1 })];
    },
  ],
];

const HOLDS: [what: string, Recording][] = [
  [
    'projections that something else reads too',
    (g) => {
      const x = rows(g, 'x', B, T, D);
      const k = dense(x, 'k', D);
      return [attention(dense(x, 'q', D), k, k, { heads: 3 }), mul(k, k)];
    },
  ],
  [
    'a skip connection that a 3×3 convolution reads',
    (g) => [conv2d(concat(rows(g, 'a', B, 3, 5, 8), rows(g, 'b', B, 3, 5, 4)), { key: 'w', shape: [4, 12, 3, 3] })],
  ],
  [
    'a map stretched to another size',
    (g) => [
      conv2d(upsampleNearest(rows(g, 'x', B, 3, 5, 4), { height: 7, width: 10 }), { key: 'w', shape: [4, 4, 3, 3] }),
    ],
  ],
  [
    'queries, keys and values head by head',
    (g) => {
      const apart = g.view(dense(rows(g, 'x', B, T, D), 'qkv', 3 * D), [B, T, 3, D]);
      const [q, k, v] = [0, 1, 2].map((i) => g.view(slice(apart, 4 * i, 4 * i + 4), [B, T, D]));
      return [attention(q, k, v, { heads: 3 })];
    },
  ],
  [
    'what ends within a vec4 of wider rows, whose rest is no padding',
    (g) => {
      const part = slice(rows(g, 'row', B, 12), 4, 9);
      const x = rows(g, 'x', B, 3, 4, 6);
      return [
        conv2d(x, { key: 'conv', shape: [5, 6, 3, 3] }, undefined, { padding: 1, shift: part }),
        dense(rows(g, 'v', B, 7), 'w', 5, { residual: part }),
      ];
    },
  ],
  [
    'a gated layer under a shape of narrower rows',
    (g) => {
      const x = rows(g, 'x', B, T, D);
      const half = (from: number) => {
        const weight = weightRows({ key: 'w', shape: [16, D] }, from, from + 8);
        return g.view(linear(x, weight), [B, 2 * T, 4]);
      };
      return [mul(half(0), half(8))];
    },
  ],
  ['a product of two layers', (g) => [mul(dense(rows(g, 'x', B, T, D), 'a', 8), dense(rows(g, 'y', B, T, D), 'b', 8))]],
];

describe.each(adapters())('merging rewrites on %s', (adapter) => {
  it.each(CASES)('%s', async (what, names, saved, build) => {
    const { fired, off, on } = await onIsOff(adapter, build, what);
    expect(Object.keys(fired)).toEqual(expect.arrayContaining([...names]));
    expect(off - on).toBe(saved);
  });

  it('what conditions each block alone, stored in halves', async () => {
    await onIsOff(adapter, ditBlocks, 'f16', { dtype: 'f16' });
  });

  it.each(HOLDS)('leave %s alone', async (what, build) => {
    expect((await onIsOff(adapter, build, what)).fired).toEqual({});
  });
});

describe.each(adapters())('a gated layer on %s', (adapter) => {
  it.each(['plain', 'shared 2', 'tile 64'])('is what its halves are, computed the way %s', async (way) => {
    const device = await openDevice(adapter);
    const [M, K, N] = [21, 12, 20];
    const record = () => {
      const g = new Graph();
      g.output('y', gatedDense(new WeightScope('ff'), rows(g, 'x', M, K), N, 'gelu'));
      return g;
    };
    const inputs = { x: normals(1, M * K) };
    const weights = { 'ff.weight': normals(2, 2 * N * K), 'ff.bias': normals(3, 2 * N) };
    const off = await runGraph(device, record(), { inputs, weights });
    const on = await runGraph(device, record(), {
      ...{ inputs, weights, rewrites },
      choices: { get: () => way } as unknown as Choices,
      caps: way.startsWith('tile') ? { software: false } : {},
      tunables: { matmulTile: { WG_N: 4, WG_M: 8, ROWS: 2, K4S: 2, EXACT: false } },
    });
    expect(on.dispatches.map((d) => [d.kernel.name.startsWith('matmul'), d.tunables.GATED])).toEqual([[true, true]]);
    expectClose(on.outputs.y, off.outputs.y, dotTolerance('f32', 2 * K, 40), way);
  });
});

describe('merged weights', () => {
  it('stay below a binding: what does not fit is merged with the rest', () => {
    const g = new Graph();
    const context = rows(g, 'context', 1, 2, 2048);
    for (let i = 0; i < 12; i++) {
      const [k, v] = [dense(context, `k${i}`, 1024), dense(context, `v${i}`, 1024)];
      g.output(`y${i}`, attention(rows(g, `q${i}`, 1, 4, 1024), k, v, { heads: 8 }));
    }
    const { nodes, fired } = rewriteGraph(g, rewrites);
    // 24 matrices of 8 MiB in bindings of 128 MiB.
    expect(fired).toEqual({ 'merge-projections': 2 });
    expect(nodes.filter((n) => n.op.name === 'linear').map((n) => n.output.shape[2])).toEqual([16 * 1024, 8 * 1024]);
  });

  it('are not merged at all with the switch off', () => {
    const g = new Graph();
    const x = rows(g, 'x', B, T, D);
    g.output('y', attend('a', x, x));
    expect(rewriteGraph(g, rewrites, new Set(['merge-projections'])).nodes.length).toBe(g.nodes.length);
  });
});
