import { describe, expect, it } from 'vitest';
import { Graph, rewriteGraph, type Tensor } from '../../src/engine/index.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { add, mul, unary } from '../../src/kernels/elementwise.ts';
import { groupNorm } from '../../src/kernels/groupNorm.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { rewrites } from '../../src/kernels/rewrites.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pick, uniform } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

const [B, H, W, C] = [2, 3, 5, 6];
const SHAPE = [B, H, W, C];
const HALF = Math.SQRT1_2;
const weight = (key: string, ...shape: number[]) => ({ key, shape });

interface Ops {
  conv(x: Tensor): Tensor;
  pointwise(x: Tensor): Tensor;
  dense(x: Tensor): Tensor;
  norm(x: Tensor): Tensor;
}

/** Ops with weights of their own; every weight is drawn from its key. */
function opsOn(): Ops {
  let n = 0;
  return {
    conv: (x) => conv2d(x, weight(`conv${++n}`, C, C, 3, 3), weight(`bias${n}`, C), { padding: 1 }),
    pointwise: (x) => conv2d(x, weight(`conv${++n}`, C, C, 1, 1), weight(`bias${n}`, C)),
    dense: (x) => linear(x, weight(`dense${++n}`, C, C), weight(`bias${n}`, C)),
    norm: (x) => groupNorm(x, weight(`gamma${++n}`, C), weight(`bias${n}`, C), { groups: 2, eps: 1e-5 }),
  };
}

type Build = (x: Tensor, row: Tensor, other: Tensor, ops: Ops) => Tensor[];

function record(build: Build): Graph {
  const g = new Graph();
  const rows = { layout: 'rows' } as const;
  const [x, row, other] = [g.input('x', SHAPE, rows), g.input('row', [B, C], rows), g.input('other', SHAPE, rows)];
  build(x, row, other, opsOn()).forEach((t, i) => g.output(`y${i}`, t));
  return g;
}

/** Outputs with all rewrites on must be those with all off; returns how often each fired. */
async function onIsOff(adapter: string, build: Build, what: string): Promise<Record<string, number>> {
  const device = await openDevice(adapter);
  const inputs = { x: normals(1, B * H * W * C), row: normals(2, B * C), other: normals(3, B * H * W * C) };
  const weights: Record<string, Float32Array> = {};
  for (const t of record(build).constants.values()) {
    const { key, shape } = t.constant!;
    const size = shape.reduce((a, b) => a * b, 1);
    const seed = 100 + [...key].reduce((s, ch) => 31 * s + ch.charCodeAt(0), 0);
    weights[key] = normals(seed, size, { std: shape.length > 1 ? 1 / Math.sqrt(size / shape[0]) : 1 });
  }
  const off = await runGraph(device, record(build), { inputs, weights });
  const on = await runGraph(device, record(build), { inputs, weights, rewrites });
  for (const [name, want] of Object.entries(off.outputs)) {
    const largest = want.reduce((a, v) => Math.max(a, Math.abs(v)), 1);
    expectClose(on.outputs[name], want, dotTolerance('f32', 12 * 9 * C, largest), `${what} ${name}`);
  }
  const g = record(build);
  const { nodes, fired } = rewriteGraph(g, rewrites);
  const gone = Object.values(fired).reduce((a, b) => a + b, 0);
  expect(nodes.length).toBeLessThanOrEqual(g.nodes.length - gone);
  return fired;
}

const FIRES: [string, string, Build][] = [
  ['fold-activation', 'conv2d', (x, _, __, o) => [unary(o.conv(x), { act: 'silu' })]],
  ['fold-activation', '1×1', (x, _, __, o) => [unary(o.pointwise(x), { act: 'silu' })]],
  [
    'fold-activation',
    'linear seen under another shape',
    (x, _, __, o) => [unary(x.graph.view(o.dense(x), [B, H * W, C]), { act: 'silu' })],
  ],
  ['fold-activation', 'a factor', (x, _, __, o) => [unary(o.conv(x), { alpha: 0.3 })]],
  [
    'fold-activation',
    'a factor after an activation',
    (x, _, r, o) => [unary(add(unary(o.conv(x), { act: 'silu' }), r), { alpha: 0.3 })],
  ],
  ['fold-residual', 'conv2d + r', (x, _, r, o) => [add(o.conv(x), r)]],
  ['fold-residual', 'r + conv2d', (x, _, r, o) => [add(r, o.conv(x))]],
  ['fold-residual', 'scaled', (x, _, r, o) => [add(r, o.conv(x), { alpha: HALF, beta: HALF })]],
  ['fold-residual', 'linear, after an activation', (x, _, r, o) => [add(unary(o.dense(x), { act: 'silu' }), r)]],
  [
    'fold-residual',
    'under another shape',
    (x, _, r, o) => [add(x.graph.view(o.conv(x), [B, H * W, C]), x.graph.view(r, [B, H * W, C]))],
  ],
  ['fold-residual', 'with its own input', (x, _, __, o) => [add(o.conv(x), x)]],
  ['fold-shift', 'a row', (x, row, _, o) => [add(o.conv(x), row)]],
  ['fold-shift', 'a row before an activation', (x, row, _, o) => [add(o.conv(x), row, { act: 'silu' })]],
  ['fold-shift', 'under another shape', (x, row, _, o) => [add(x.graph.view(o.pointwise(x), [B, H * W, C]), row)]],
  ['fold-norm-activation', 'groupNorm', (x, _, __, o) => [unary(o.norm(x), { act: 'silu' })]],
];

const HOLDS: [string, Build][] = [
  [
    'another reader',
    (x, _, __, o) => {
      const y = o.conv(x);
      return [unary(y, { act: 'silu' }), mul(y, y)];
    },
  ],
  [
    'an output',
    (x, _, __, o) => {
      const y = o.conv(x);
      return [y, add(y, x)];
    },
  ],
  [
    'a sum with itself',
    (x, _, __, o) => {
      const y = o.conv(x);
      return [add(y, y)];
    },
  ],
  ['unequal factors', (x, _, r, o) => [add(o.conv(x), r, { alpha: 0.5, beta: 2 })]],
  ['an activation after a residual sum', (x, _, r, o) => [add(o.conv(x), r, { act: 'silu' })]],
  ['a scaled activation', (x, _, __, o) => [unary(o.norm(x), { act: 'silu', alpha: 2 })]],
  ['a product', (x, row, __, o) => [mul(o.conv(x), row)]],
  ['a scaled row', (x, row, __, o) => [add(o.conv(x), row, { beta: 2 })]],
];

/** A chain of random nodes over a pool of tensors of one shape, so that some are read twice and some become outputs. */
function randomGraph(seed: number): Build {
  return (x, row, other, o) => {
    const u = uniform(seed);
    const pool = [x, other];
    const recent = () => (u() < 0.75 ? pool.at(-1)! : pick(u, pool));
    const steps: (() => Tensor)[] = [
      () => o.conv(recent()),
      () => o.conv(recent()),
      () => o.pointwise(recent()),
      () => o.dense(recent()),
      () => o.norm(recent()),
      () => unary(recent(), { act: 'silu' }),
      () => unary(recent(), { act: 'silu' }),
      () => unary(recent(), { alpha: 0.5 }),
      () => add(recent(), pick(u, pool)),
      () => add(recent(), pick(u, pool), { alpha: HALF, beta: HALF }),
      () => add(recent(), row),
      () => x.graph.view(x.graph.view(recent(), [B, H * W, C]), SHAPE),
    ];
    for (let i = 0; i < 14; i++) pool.push(pick(u, steps)());
    // A view of an input has no producer and is no result; such an end is named by the node before it.
    return [...new Set([pool.at(-1)!, pick(u, pool)])].map((t) => unary(t, { alpha: 2 }));
  };
}

describe.each(adapters())('rewrites on %s', (adapter) => {
  it.each(FIRES)('%s: %s', async (name, what, build) => {
    expect(await onIsOff(adapter, build, what)).toHaveProperty(name);
  });

  it.each(HOLDS)('leave %s alone', async (what, build) => {
    expect(await onIsOff(adapter, build, what)).toEqual({});
  });

  it('change nothing in random graphs, and all folds take part', async () => {
    const total: Record<string, number> = {};
    for (let seed = 1; seed <= 12; seed++) {
      const fired = await onIsOff(adapter, randomGraph(seed), `seed ${seed}`);
      for (const [name, n] of Object.entries(fired)) total[name] = (total[name] ?? 0) + n;
    }
    const folds = ['fold-activation', 'fold-norm-activation', 'fold-residual', 'fold-shift'];
    expect(Object.keys(total)).toEqual(expect.arrayContaining(folds));
  });
});
