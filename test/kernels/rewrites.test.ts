import { describe, expect, it } from 'vitest';
import { Graph, Program, rewriteGraph, Weights, type Device, type Tensor } from '../../src/engine/index.ts';
import { attention } from '../../src/kernels/attention.ts';
import { concat } from '../../src/kernels/concat.ts';
import { conv2d } from '../../src/kernels/conv2d.ts';
import { add, mul, unary } from '../../src/kernels/elementwise.ts';
import { embedding } from '../../src/kernels/embedding.ts';
import { groupNorm } from '../../src/kernels/groupNorm.ts';
import { layerNorm } from '../../src/kernels/layerNorm.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { adaptiveNorm, gatedAdd } from '../../src/kernels/modulation.ts';
import { optionalRewrites, rewrites } from '../../src/kernels/rewrites.ts';
import { slice } from '../../src/kernels/slice.ts';
import { upsampleNearest } from '../../src/kernels/upsampleNearest.ts';
import { gatedDense } from '../../src/models/blocks/gatedDense.ts';
import { WeightScope } from '../../src/models/weightScope.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { onIsOff as recordedOnIsOff, type Recording } from '../support/onIsOff.ts';
import { normals, pick, uniform } from '../support/random.ts';
import { openDevice, runGraph, toDevice } from '../support/runGraph.ts';

const [B, H, W, C] = [2, 3, 5, 6];
const SHAPE = [B, H, W, C];
/** In f32: what joins parts of halves has tests of its own (`convJoinNorm.test.ts`). */
const ALL = [...rewrites, ...optionalRewrites].filter(({ name }) => name !== 'join-norm');
const HALF = Math.SQRT1_2;
const weight = (key: string, ...shape: number[]) => ({ key, shape });

interface Ops {
  conv(x: Tensor): Tensor;
  pointwise(x: Tensor): Tensor;
  dense(x: Tensor): Tensor;
  norm(x: Tensor): Tensor;
  rowNorm(x: Tensor): Tensor;
}

/** Ops with weights of their own; every weight is drawn from its key. */
function opsOn(): Ops {
  let n = 0;
  return {
    conv: (x) => conv2d(x, weight(`conv${++n}`, C, C, 3, 3), weight(`bias${n}`, C), { padding: 1 }),
    pointwise: (x) => conv2d(x, weight(`conv${++n}`, C, C, 1, 1), weight(`bias${n}`, C)),
    dense: (x) => linear(x, weight(`dense${++n}`, C, C), weight(`bias${n}`, C)),
    norm: (x) => groupNorm(x, weight(`gamma${++n}`, C), weight(`bias${n}`, C), { groups: 2, eps: 1e-5 }),
    rowNorm: (x) => layerNorm(x, weight(`gamma${++n}`, C), weight(`bias${n}`, C), { eps: 1e-5 }),
  };
}

const tokens = (x: Tensor) => x.graph.view(x, [B, H * W, C]);

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
  const on = await runGraph(device, record(build), { inputs, weights, rewrites: ALL });
  for (const [name, want] of Object.entries(off.outputs)) {
    const largest = want.reduce((a, v) => Math.max(a, Math.abs(v)), 1);
    expectClose(on.outputs[name], want, dotTolerance('f32', 12 * 9 * C, largest), `${what} ${name}`);
  }
  const g = record(build);
  const { nodes, fired } = rewriteGraph(g, ALL);
  // All but one do away with a node.
  const gone = Object.entries(fired).reduce((n, [name, times]) => n + (name === 'leave-statistics' ? 0 : times), 0);
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
  ['fold-norm', 'groupNorm', (x, _, __, o) => [o.conv(o.norm(x))]],
  ['fold-norm', 'an activation between', (x, _, r, o) => [add(o.conv(unary(o.norm(x), { act: 'silu' })), r)]],
  ['fold-norm', 'under another shape', (x, _, __, o) => [o.conv(x.graph.view(o.norm(tokens(x)), SHAPE))]],
  ['fold-layer-norm', 'layerNorm', (x, _, r, o) => [add(unary(o.dense(o.rowNorm(x)), { act: 'silu' }), r)]],
  ['fold-layer-norm', 'under another shape', (x, _, __, o) => [o.dense(x.graph.view(o.rowNorm(tokens(x)), SHAPE))]],
  ['fold-layer-norm', 'one of two', (x, _, __, o) => [o.dense(o.rowNorm(o.rowNorm(x)))]],
  ['leave-statistics', 'conv2d', (x, _, __, o) => [o.conv(o.norm(o.conv(x)))]],
  [
    'leave-statistics',
    'a residual, which others read as well',
    (x, _, r, o) => {
      const h = add(o.conv(x), r);
      return [add(o.conv(o.norm(h)), h)];
    },
  ],
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
  ['a 1×1 convolution behind a norm', (x, _, __, o) => [o.pointwise(o.norm(x))]],
  [
    'a norm that others read',
    (x, _, __, o) => {
      const y = o.norm(x);
      return [o.conv(y), mul(y, y)];
    },
  ],
  [
    'a layer norm that others read',
    (x, _, __, o) => {
      const y = o.rowNorm(x);
      return [o.dense(y), mul(y, y)];
    },
  ],
  [
    'a layer norm with a bias alone',
    (x, _, __, o) => [o.dense(layerNorm(x, undefined, weight('b', C), { eps: 1e-5 }))],
  ],
  ['a layer norm in front of a convolution', (x, _, __, o) => [o.pointwise(o.rowNorm(x))]],
  ['a product', (x, row, __, o) => [mul(o.conv(x), row)]],
  ['a scaled row', (x, row, __, o) => [add(o.conv(x), row, { beta: 2 })]],
];

function drawn(device: Device, data: Record<string, Float32Array>): Weights {
  const keys = () => Object.keys(data);
  const info = (key: string) => ({ dtype: 'F32', shape: [data[key].length] }) as const;
  return new Weights(device, { name: 'drawn', keys, info, read: async (key) => data[key] });
}

function upload(program: Program, name: string, data: Float32Array | Uint32Array): void {
  const bytes = toDevice(program.graph.inputs.get(name)!, data);
  const { queue } = program.device.gpu;
  queue.writeBuffer(program.inputBuffer(name), 0, bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Shape of the random graphs' state: what merges needs whole vec4s of channels, and maps are halved. */
const [H2, W2, D] = [4, 6, 8];
const STATE = [B, H2, W2, D];

/**
 * A chain of random steps over a pool of tensors of one shape, so that some are read twice and some become outputs.
 * Steps are single nodes, and the patterns that networks have: attention, gated layers, skip connections, smaller maps,
 * conditions that each block embeds by itself.
 */
function randomGraph(seed: number): Recording {
  return (g) => {
    const u = uniform(seed);
    const rows = (name: string, ...shape: number[]) => g.input(name, shape, { layout: 'rows' });
    const [x, other, row] = [rows('x', ...STATE), rows('other', ...STATE), rows('row', B, D)];
    const [time, context] = [rows('time', B, D), rows('context', B, 3, D)];
    const labels = g.input('labels', [B], { dtype: 'u32' });
    let n = 0;
    const dense = (t: Tensor, out: number, options: Parameters<typeof linear>[3] = {}) => {
      n++;
      const bias = u() < 0.7 ? weight(`b${n}`, out) : undefined;
      return linear(t, weight(`w${n}`, out, t.shape.at(-1)!), bias, options);
    };
    const conv = (t: Tensor, O: number, side: number, stride = 1) =>
      conv2d(t, weight(`w${++n}`, O, t.shape[3], side, side), weight(`b${n}`, O), { padding: (side - 1) / 2, stride });
    const norm = (t: Tensor) => {
      const C = t.shape.at(-1)!;
      return groupNorm(t, weight(`gamma${++n}`, C), weight(`b${n}`, C), { groups: 2, eps: 1e-5 });
    };
    const tokens = (t: Tensor) => g.view(t, [B, H2 * W2, t.shape.at(-1)!]);
    const map = (t: Tensor) => g.view(t, [B, H2, W2, t.shape.at(-1)!]);

    const pool = [x, other];
    const any = () => pick(u, pool);
    const recent = () => (u() < 0.75 ? pool.at(-1)! : any());
    const attend = (t: Tensor, from: Tensor) => {
      const q = dense(t, D);
      // Now and then somebody else reads it too.
      if (u() < 0.2) pool.push(map(q));
      const a = attention(q, dense(from, D), dense(from, D), { heads: 2 });
      return dense(a, D, { residual: u() < 0.5 ? t : undefined });
    };
    const single: (() => Tensor)[] = [
      () => conv(recent(), D, 3),
      () => conv(recent(), D, 1),
      () => dense(recent(), D),
      () => norm(recent()),
      () => unary(recent(), { act: 'silu' }),
      () => unary(recent(), { alpha: 0.5 }),
      () => add(recent(), any()),
      () => add(recent(), any(), { alpha: HALF, beta: HALF }),
      () => add(recent(), row),
      () => map(tokens(recent())),
    ];
    const patterns: (() => Tensor)[] = [
      () => unary(norm(recent()), { act: 'silu' }),
      () => add(conv(unary(norm(recent()), { act: 'silu' }), D, 3), any()),
      () => unary(add(conv(recent(), D, 3), dense(time, D)), { act: 'silu' }),
      () => {
        const t = tokens(recent());
        return map(attend(t, u() < 0.5 ? t : context));
      },
      () => {
        const qkv = dense(tokens(recent()), 3 * D);
        const [q, k, v] = [0, 1, 2].map((i) => slice(qkv, i * D, (i + 1) * D));
        return map(attention(q, k, v, { heads: 2 }));
      },
      () => map(dense(gatedDense(new WeightScope(`ff${++n}`), tokens(recent()), 12, 'gelu'), D)),
      ...Array<() => Tensor>(2).fill(() => {
        const joined = concat(recent(), any());
        return add(conv(norm(joined), D, 3), conv(joined, D, u() < 0.7 ? 1 : 3));
      }),
      () => {
        const small = conv(recent(), D, 3, 2);
        return conv(upsampleNearest(small, { height: H2, width: W2 }), D, 3);
      },
      ...Array<() => Tensor>(3).fill(() => {
        // As in a transformer block of a diffusion model that embeds time and label anew.
        const t = tokens(recent());
        const embedded = dense(dense(time, D, { act: 'silu' }), D);
        const y = u() < 0.8 ? add(embedded, embedding(labels, weight(`table${++n}`, 4, D))) : embedded;
        const m = dense(unary(y, { act: 'silu' }), 3 * D);
        const h = adaptiveNorm(t, m, { shift: 0, scale: D, eps: 1e-6 });
        return map(gatedAdd(t, dense(h, D), m, 2 * D));
      }),
    ];
    for (let i = 0; i < 10; i++) pool.push(pick(u, u() < 0.5 ? single : patterns)());
    // A view of an input has no producer and is no result; such an end is named by the node before it.
    return [...new Set([pool.at(-1)!, any()])].map((t) => unary(t, { alpha: 2 }));
  };
}

describe.each(adapters())('rewrites on %s', (adapter) => {
  it.each(FIRES)('%s: %s', async (name, what, build) => {
    expect(await onIsOff(adapter, build, what)).toHaveProperty(name);
  });

  it.each(HOLDS)('leave %s alone', async (what, build) => {
    expect(await onIsOff(adapter, build, what)).toEqual({});
  });

  it('change nothing in random graphs, and every one of them takes part', async () => {
    const device = await openDevice(adapter);
    const total: Record<string, number> = Object.fromEntries(ALL.map(({ name }) => [name, 0]));
    let inPlace = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const build = randomGraph(seed);
      const on = await recordedOnIsOff(adapter, build, `seed ${seed}`, { length: 10 * 9 * 2 * D, rewrites: ALL });
      for (const [name, n] of Object.entries(on.fired)) total[name] += n;
      if (seed % 2 !== 0) continue;
      // The same in memory as it is planned.
      const g = new Graph();
      build(g).forEach((t, i) => g.output(`y${i}`, t));
      const program = await Program.compile(device, g, drawn(device, on.weights), { rewrites: ALL });
      for (const [name, data] of Object.entries(on.inputs)) upload(program, name, data);
      await program.run();
      for (const [name, want] of Object.entries(on.outputs)) expect(await program.read(name), name).toEqual(want);
      inPlace += program.dispatches.filter(({ tunables }) => tunables.IN_PLACE === true).length;
      program.dispose();
    }
    expect(Object.keys(total).filter((name) => total[name] < 2)).toEqual([]);
    expect(inPlace).toBeGreaterThan(0);
  });
});
