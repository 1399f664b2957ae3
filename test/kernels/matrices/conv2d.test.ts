/**
 * Convolutions by subgroup matrices, which only the newest software adapters have: elsewhere with
 * `test/support/emulateMatrices.ts`.
 */
import { describe, expect, it } from 'vitest';
import { Graph, type MatrixForm } from '../../../src/engine/index.ts';
import { conv2dOp } from '../../../src/kernels/conv2d.ts';
import { packConv, packVector } from '../../../src/kernels/packing.ts';
import type { ActivationName } from '../../reference/activation.ts';
import { convHeight, convReference, convWidth, type ConvCase } from '../../reference/conv.ts';
import { dotTolerance, expectClose } from '../../support/close.ts';
import { openMatrixDevice } from '../../support/emulateMatrices.ts';
import { adapters } from '../../support/gpu.ts';
import { normals, roundTo } from '../../support/random.ts';
import { runGraph } from '../../support/runGraph.ts';

interface Case extends ConvCase {
  name: string;
  way: string;
  /** Sizes of the matrices; default {@link FORM}. */
  form?: MatrixForm;
  act?: ActivationName;
  bias?: boolean;
  shift?: boolean;
  residual?: boolean;
  up?: 1 | 2;
  exact?: boolean;
}

const around = { R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 };

const FORM: MatrixForm = '16x16x16';
const CASES: Case[] = [
  { name: '3×3', way: 'matrix 128', ...around, B: 2, H: 9, W: 11, I: 13, O: 134, act: 'silu', bias: true, shift: true },
  {
    name: '3×3, all sizes fit',
    way: 'matrix 128',
    ...around,
    B: 2,
    H: 8,
    W: 16,
    I: 16,
    O: 128,
    bias: true,
    exact: true,
  },
  {
    ...{
      name: '3×3/2, below and right',
      way: 'matrix 64',
      R: 3,
      S: 3,
      stride: 2,
      top: 0,
      left: 0,
      bottom: 1,
      right: 1,
    },
    ...{ B: 2, H: 14, W: 18, I: 20, O: 65, act: 'sigmoid' as const, residual: true },
  },
  {
    ...{ name: '2×3/2, dilation 3', way: 'matrix 128x64', R: 2, S: 3, stride: 2, dilation: 3, top: 1, left: 2 },
    ...{ bottom: 0, right: 4, B: 3, H: 17, W: 15, I: 3, O: 70, bias: true, shift: true, residual: true },
  },
  {
    name: '3×3, in parts',
    way: 'matrix split',
    ...around,
    B: 2,
    H: 6,
    W: 7,
    I: 58,
    O: 70,
    act: 'silu',
    bias: true,
    shift: true,
  },
  { name: '3×3 of doubled pixels', way: 'matrix 64', ...around, B: 1, H: 5, W: 7, I: 36, O: 40, up: 2, residual: true },
  {
    name: '3×3',
    way: 'matrix 128x64',
    form: '8x8x8',
    ...around,
    B: 2,
    H: 9,
    W: 8,
    I: 13,
    O: 70,
    act: 'silu',
    shift: true,
  },
];

describe.each(adapters())('conv2d by subgroup matrices on %s', (adapter) => {
  // SwiftShader takes minutes to translate the larger ones.
  const here = adapter === 'swiftshader' ? CASES.filter(({ way }) => way === 'matrix 64') : CASES;
  it.each(here.map((c) => ({ form: FORM, ...c })))(
    '$way $form: $name',
    async ({ name: _, way, form, up = 1, act = 'none', bias, shift, residual, exact, ...c }) => {
      const device = await openMatrixDevice(adapter, adapter === 'swiftshader' ? { without: ['shader-f16'] } : {}, {
        form,
      });
      const { B, H, W, I, O, R, S, stride, top, left, dilation = 1 } = c;
      const doubled: ConvCase = { ...c, H: up * H, W: up * W };
      const [OH, OW] = [convHeight(doubled), convWidth(doubled)];
      const half = (seed: number, n: number, std = 1) => roundTo('f16', normals(seed, n, { std }));
      const inputs = { x: half(1, B * H * W * I), shift: half(2, B * (O + 8)), residual: half(3, B * OH * OW * O) };
      const weights = { w: half(4, O * I * R * S, 1 / Math.sqrt(I * R * S)), b: normals(5, O) };
      const g = new Graph('f16');
      const input = (key: keyof typeof inputs, shape: number[]) =>
        g.input(key, shape, { layout: 'rows', dtype: 'f16' });
      const of = {
        x: input('x', [B, H, W, I]),
        weight: g.constant({ key: 'w', shape: [O, I, R, S] }, packConv, 'f16'),
        bias: bias ? g.constant({ key: 'b', shape: [O] }, packVector, 'f32') : undefined,
        shift: shift ? input('shift', [B, O + 8]) : undefined,
        residual: residual ? input('residual', [B, OH, OW, O]) : undefined,
      };
      const attrs = { B, H, W, I, OH, OW, O, R, S, stride, dilation, top, left, act, scale: 0.5, up, shiftAt: 8 };
      g.output('y', g.record(conv2dOp, of, attrs, [B, OH, OW, O]));
      const { outputs, dispatches } = await runGraph(device, g, { inputs, weights, choices: { get: () => way } });
      const kernels = way === 'matrix split' ? ['conv2dMatrixSplit', 'conv2dJoin'] : ['conv2dMatrix'];
      expect(dispatches.map(({ kernel }) => kernel.name)).toEqual(kernels);
      expect(dispatches[0].tunables.EXACT).toBe(exact ?? false);

      const x = new Float32Array(B * up * H * up * W * I).map((_x, i) => {
        const [channel, column, row] = [i % I, Math.floor(i / I) % (up * W), Math.floor(i / I / up / W) % (up * H)];
        const item = Math.floor(i / I / up / W / up / H);
        return inputs.x[((item * H + Math.floor(row / up)) * W + Math.floor(column / up)) * I + channel];
      });
      const shifts = Float32Array.from(
        { length: B * O },
        (_s, i) => inputs.shift[Math.floor(i / O) * (O + 8) + 8 + (i % O)],
      );
      const want = convReference(x, weights.w, doubled, {
        bias: bias ? weights.b : undefined,
        shift: shift ? shifts : undefined,
        residual: residual ? inputs.residual : undefined,
        act,
        scale: 0.5,
      });
      expectClose(outputs.y, want, dotTolerance('f16', I * R * S, 5), 'conv2d');
    },
  );
});
