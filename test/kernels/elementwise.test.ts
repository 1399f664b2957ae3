import { describe, expect, it } from 'vitest';
import { Graph, ShapeError } from '../../src/engine/index.ts';
import { add, mul, scaleShift, unary } from '../../src/kernels/elementwise.ts';
import { activation } from '../reference/activation.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const cases = pairwise({
  kind: ['unary', 'add', 'mul', 'affine'] as const,
  C: [1, 3, 4, 5, 130],
  P: [1, 7],
  broadcast: [false, true],
  act: ['none', 'silu', 'relu'] as const,
  std: [1, 100],
});

/** Large enough for several vec4 per invocation, several workgroups per item, and rows that end within a turn. */
const LARGE = [
  { kind: 'affine', C: 130, P: 129, broadcast: true, act: 'none', std: 1 },
  { kind: 'add', C: 130, P: 129, broadcast: false, act: 'none', std: 1 },
  { kind: 'mul', C: 5, P: 2049, broadcast: true, act: 'none', std: 1 },
  { kind: 'unary', C: 261, P: 65, broadcast: false, act: 'sigmoid', std: 1 },
] as const;

describe.each(adapters())('elementwise on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each([...cases, ...LARGE])(
      '$kind [2,$P,$C], row: $broadcast, $act, std $std',
      async ({ kind, C, P, broadcast, act, std }) => {
        const device = await openDevice(adapter, options);
        const [B, n] = [2, 2 * P * C];
        const [alpha, beta] = [-0.75, 1.5];
        const draw = (seed: number, size: number) => roundTo(dtype, normals(seed, size, { std }));
        const [a, b, c] = [draw(1, n), draw(2, broadcast ? B * C : n), draw(3, broadcast ? B * C : n)];
        const g = new Graph(dtype);
        const rows = { layout: 'rows', dtype } as const;
        const x = g.input('a', [B, P, C], rows);
        const operand = (name: string) => g.input(name, broadcast ? [B, C] : [B, P, C], rows);
        const record = {
          unary: () => unary(x, { act, alpha }),
          add: () => add(x, operand('b'), { act, alpha, beta }),
          mul: () => mul(x, operand('b'), { act, alpha }),
          affine: () => scaleShift(x, operand('b'), operand('c'), { act }),
        };
        g.output('y', record[kind]());
        const inputs = { unary: { a }, add: { a, b }, mul: { a, b }, affine: { a, b, c } };
        const { outputs } = await runGraph(device, g, { inputs: inputs[kind] });

        const row = (i: number) => (broadcast ? Math.floor(i / (P * C)) * C + (i % C) : i);
        const terms = {
          unary: (i: number) => [alpha * a[i]],
          add: (i: number) => [alpha * a[i], beta * b[row(i)]],
          mul: (i: number) => [alpha * a[i] * b[row(i)]],
          affine: (i: number) => [a[i], a[i] * b[row(i)], c[row(i)]],
        };
        const each = Array.from(a, (_v, i) => terms[kind](i));
        const want = each.map((parts) =>
          activation(
            parts.reduce((s, v) => s + v)!,
            act,
          ),
        );
        const tolerance = each.map((parts) => dotTolerance(dtype, 3, 1 + parts.reduce((s, v) => s + Math.abs(v), 0)));
        expectClose(outputs.y, want, tolerance, kind);
      },
    );
  });
});

describe('elementwise: shapes', () => {
  const g = new Graph();
  const x = g.input('x', [2, 3, 8], { layout: 'rows' });

  it('says what does not fit', () => {
    expect(() => unary(g.input('dense', [2, 8]))).toThrow(/unary: expected a in rows, got dense \[2,8\]/);
    expect(() => add(x, g.input('short', [2, 7], { layout: 'rows' }))).toThrow(/\[2,3,8\] or \[2,8\], got \[2,7\]/);
    const shift = g.input('shift', [3, 8], { layout: 'rows' });
    expect(() => scaleShift(x, g.input('scale', [2, 8], { layout: 'rows' }), shift)).toThrow(ShapeError);
    expect(() => scaleShift(x, g.input('row', [2, 8], { layout: 'rows' }), x)).toThrow(
      /operands of one shape, got \[2,8\] and \[2,3,8\]/,
    );
  });
});
