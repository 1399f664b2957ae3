/**
 * Linear layers by subgroup matrices, which only the newest software adapters have: elsewhere with
 * `test/support/emulateMatrices.ts`.
 */
import { describe, expect, it } from 'vitest';
import { Graph, type MatrixForm, type Weight } from '../../../src/engine/index.ts';
import { linearOp } from '../../../src/kernels/matmul.ts';
import { packGated, packGatedVector, packMatrix, packVector } from '../../../src/kernels/packing.ts';
import { activation, type ActivationName } from '../../reference/activation.ts';
import { linearReference } from '../../reference/linear.ts';
import { dotTolerance, expectClose } from '../../support/close.ts';
import { openMatrixDevice, type Edit } from '../../support/emulateMatrices.ts';
import { adapters } from '../../support/gpu.ts';
import { normals, roundTo } from '../../support/random.ts';
import { runGraph } from '../../support/runGraph.ts';

interface Case {
  way: string;
  /** Sizes of the matrices; default {@link FORM}. */
  form?: MatrixForm;
  /** Rows, in two batch items. */
  M: number;
  K: number;
  N: number;
  /** Channels that stand behind x in a second tensor. */
  L?: number;
  act?: ActivationName;
  bias?: boolean;
  residual?: boolean;
  gate?: boolean;
  gated?: boolean;
  exact?: boolean;
}

async function run({ way, form, M, K, N, L = 0, act = 'none', ...c }: Case, adapter: string, edit?: Edit) {
  // Where there are no halves, they are kept in pairs.
  const options = adapter === 'swiftshader' ? { without: ['shader-f16' as const] } : { limits: 'raised' as const };
  const device = await openMatrixDevice(adapter, options, { form, edit });
  const columns = c.gated ? 2 * N : N;
  const half = (seed: number, n: number, std = 1) => roundTo('f16', normals(seed, n, { std }));
  const inputs = { x: half(1, M * K), second: half(2, M * L), gate: half(3, 2 * (N + 4)), residual: half(4, M * N) };
  const weights = { w: half(5, columns * (K + L), 1 / Math.sqrt(K + L)), b: normals(6, columns) };
  const g = new Graph('f16');
  const input = (name: keyof typeof inputs, shape: number[]) => g.input(name, shape, { layout: 'rows', dtype: 'f16' });
  const weight: Weight = { key: 'w', shape: [columns, K + L] };
  const of = {
    x: input('x', [2, M / 2, K]),
    second: L ? input('second', [2, M / 2, L]) : undefined,
    weight: g.constant(weight, c.gated ? packGated : packMatrix, 'f16'),
    bias: c.bias
      ? g.constant({ key: 'b', shape: [columns] }, c.gated ? packGatedVector : packVector, 'f32')
      : undefined,
    residual: c.residual ? input('residual', [2, M / 2, N]) : undefined,
    gate: c.gate ? input('gate', [2, N + 4]) : undefined,
  };
  g.output('y', g.record(linearOp, of, { act, scale: 0.5, gated: c.gated, gateAt: 4 }, [2, M / 2, N]));
  const { outputs, dispatches } = await runGraph(device, g, { inputs, weights, choices: { get: () => way } });
  const kernels = way === 'matrix split' ? ['matmulMatrixSplit', 'matmulJoin'] : ['matmulMatrix'];
  expect(dispatches.map(({ kernel }) => kernel.name)).toEqual(kernels);
  expect(dispatches[0].tunables.EXACT).toBe(c.exact ?? false);

  const rows = new Float32Array(M * (K + L));
  for (let m = 0; m < M; m++) {
    rows.set(inputs.x.subarray(m * K, (m + 1) * K), m * (K + L));
    rows.set(inputs.second.subarray(m * L, (m + 1) * L), m * (K + L) + K);
  }
  const sums = linearReference(rows, weights.w, { M, N: columns, K: K + L }, { bias: c.bias ? weights.b : undefined });
  const want = Float64Array.from({ length: M * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    const value = sums[m * columns + n];
    const acted = c.gated ? value * activation(sums[m * columns + N + n], act) : activation(value, act);
    const item = Math.floor(m / (M / 2));
    const gate = c.gate ? inputs.gate[item * (N + 4) + 4 + n] : 1;
    return 0.5 * (acted * gate + (c.residual ? inputs.residual[i] : 0));
  });
  return { got: outputs.y, want, tolerance: dotTolerance('f16', K + L, 50) };
}

const FORM: MatrixForm = '16x16x16';
const CASES: Case[] = [
  { way: 'matrix 128', M: 150, K: 42, N: 135, act: 'sigmoid', bias: true, residual: true },
  { way: 'matrix 128', M: 256, K: 48, N: 128, exact: true },
  { way: 'matrix 128 deep', M: 130, K: 64, L: 20, N: 160, act: 'silu', bias: true },
  { way: 'matrix 128x64', M: 140, K: 36, L: 28, N: 70, gate: true, residual: true, bias: true },
  { way: 'matrix 64', M: 90, K: 70, N: 42, gated: true, act: 'gelu', bias: true, residual: true },
  { way: 'matrix split', M: 40, K: 480, L: 42, N: 35, gated: true, act: 'gelu', bias: true, residual: true },
  { way: 'matrix 128x256', M: 140, K: 52, N: 266, bias: true },
  { way: 'matrix 128 wide', M: 128, K: 48, N: 64, gated: true, act: 'silu', bias: true, exact: true },
  { way: 'matrix 64', M: 2, K: 3, N: 5, gated: true, act: 'gelu', bias: true, residual: true },
  { way: 'matrix 64', form: '8x8x8', M: 70, K: 70, N: 42, gated: true, act: 'gelu', bias: true, residual: true },
  { way: 'matrix 128x64', form: '8x8x8', M: 130, K: 36, L: 28, N: 70, bias: true },
  { way: 'matrix 64', form: '8x8x16', M: 90, K: 70, N: 42, bias: true },
  { way: 'matrix 128x64', form: '8x16x16', M: 140, K: 52, N: 70, gated: true, act: 'silu', bias: true },
  { way: 'matrix split', form: '8x16x16', M: 40, K: 480, L: 42, N: 35, bias: true, residual: true },
];

describe.each(adapters())('linear by subgroup matrices on %s', (adapter) => {
  // SwiftShader takes minutes to translate the larger ones.
  const here = adapter === 'swiftshader' ? CASES.filter(({ way, form }) => way === 'matrix 64' && !form) : CASES;
  it.each(here.map((c) => ({ form: FORM, ...c })))('$way $form: $M×$K×$N $act', async (c) => {
    const { got, want, tolerance } = await run(c, adapter);
    expectClose(got, want, tolerance, 'linear');
  });

  // What the emulation is worth: a kernel that works by luck is found out.
  it.runIf(adapter !== 'swiftshader').each([0, 1, 2, 3])('needs barrier %i', async (nth) => {
    let seen = 0;
    const apply = (code: string) =>
      code.replace(/workgroupBarrier\(\);/g, (barrier) => (seen++ === nth ? '' : barrier));
    const c = { way: 'matrix 64', M: 90, K: 96, N: 72 };
    const { got, want, tolerance } = await run(c, adapter, { name: `without barrier ${nth}`, apply });
    expect(seen).toBe(4);
    expect(() => expectClose(got, want, tolerance, 'linear')).toThrow();
  });
});
