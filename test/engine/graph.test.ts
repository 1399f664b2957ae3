import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  Graph,
  prepare,
  rewriteGraph,
  ShapeError,
  type Rewrite,
} from '../../src/engine/index.ts';
import { add, unary } from '../../src/kernels/elementwise.ts';
import { fromNchw, toNchw } from '../../src/kernels/layout.ts';
import { linear } from '../../src/kernels/matmul.ts';

describe('graph', () => {
  it('labels nodes with the scope they were recorded in', () => {
    const g = new Graph();
    const x = g.input('x', [2, 4], { layout: 'rows' });
    g.scope('mid', () => g.scope('attn', () => unary(x)));
    expect(g.nodes[0].label).toBe('mid/attn/elementwise');
  });

  it('gives one tensor for one weight and packing, and refuses two shapes of one key', () => {
    const g = new Graph();
    const x = g.input('x', [2, 4], { layout: 'rows' });
    linear(x, { key: 'w', shape: [4, 4] });
    linear(x, { key: 'w', shape: [4, 4] });
    expect(g.constants.size).toBe(1);
    expect(() => linear(x, { key: 'w', shape: [8, 4] })).toThrow(/weight w is used as \[4,4\] and as \[8,4\]/);
  });

  it('refuses tensors of another graph, double names and impossible shapes', () => {
    const g = new Graph();
    const other = new Graph().input('x', [2, 4], { layout: 'rows' });
    const x = g.input('x', [2, 4], { layout: 'rows' });
    expect(() => add(x, other)).toThrow(/b belongs to another graph/);
    expect(() => g.input('x', [1])).toThrow(ShapeError);
    expect(() => g.input('y', [0, 4])).toThrow(/positive integer/);
  });

  it('views are free only where rows keep their padded width', () => {
    const g = new Graph();
    const wide = g.input('a', [2, 3, 8], { layout: 'rows' });
    expect(g.view(wide, [6, 8]).viewOf).toBe(wide);
    expect(g.view(wide, [2, 3, 2, 4]).shape).toEqual([2, 3, 2, 4]);
    const ragged = g.input('b', [2, 3, 6], { layout: 'rows' });
    expect(g.view(ragged, [6, 6]).viewOf).toBe(ragged);
    expect(() => g.view(ragged, [2, 18])).toThrow(/padded to four/);
    expect(() => g.view(wide, [2, 3, 4])).toThrow(/number of elements/);
  });

  it('checks shapes when recording, before any dispatch', () => {
    const g = new Graph();
    const image = g.input('image', [1, 3, 8, 8]);
    expect(() => toNchw(image)).toThrow(/expected x \[B,H,W,C\].*dense/);
    const x = fromNchw(image);
    expect(x.shape).toEqual([1, 8, 8, 3]);
    expect(() => fromNchw(x)).toThrow(/expected dense f32/);
    expect(() => add(x, g.input('v', [2, 3], { layout: 'rows' }))).toThrow(
      /expected an operand \[1,8,8,3\] or \[1,3\]/,
    );
  });
});

describe('rewrite driver', () => {
  /** Two activations in a row become one (relu is idempotent). */
  const relus: Rewrite = {
    name: 'relu-relu',
    apply(node, view) {
      const before = node.inputs.a && view.producer(node.inputs.a);
      const isRelu = (n = node) => (n.attrs as { act?: string }).act === 'relu';
      if (!before || !isRelu() || !isRelu(before) || view.uses(before.output) !== 1) return undefined;
      return { node: { ...node, inputs: before.inputs }, removed: [before] };
    },
  };

  const chain = () => {
    const g = new Graph();
    let x = g.input('x', [2, 4], { layout: 'rows' });
    for (let i = 0; i < 5; i++) x = unary(x, { act: 'relu' });
    g.output('y', x);
    return g;
  };

  it('applies a rewrite until nothing changes, counts it, and leaves it out when it is off', () => {
    expect(rewriteGraph(chain(), [relus])).toMatchObject({ nodes: { length: 1 }, fired: { 'relu-relu': 4 } });
    expect(rewriteGraph(chain(), [relus], new Set(['relu-relu']))).toMatchObject({ nodes: { length: 5 }, fired: {} });
    expect(prepare(chain(), DEFAULT_CAPABILITIES, { rewrites: [relus] }).report.dispatches).toBe(1);
  });

  it('keeps a tensor that something else reads', () => {
    const g = new Graph();
    const a = unary(g.input('x', [2, 4], { layout: 'rows' }), { act: 'relu' });
    g.output('a', a);
    g.output('b', unary(a, { act: 'relu' }));
    expect(rewriteGraph(g, [relus]).nodes.length).toBe(2);
  });
});
