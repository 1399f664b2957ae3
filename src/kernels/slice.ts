/** Cutting out channels: the halves of a gated unit, the parts of one projection. */
import { defineKernel, formatShape, linearGrid, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, rowsOf, width4 } from './common.ts';
import shader from './slice.wgsl';

/** Channels cut out of rows, one vec4 per invocation. */
export const sliceKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], SHIFT: [0, 1, 2, 3] },
  grid: ({ rows, N4 }, t) => linearGrid(ceilDiv(rows * N4, t.WG)),
});

/** Input x […,C]; result […,N], channels from `from` on. */
export const sliceOp: Op<{ from: number }> = {
  name: 'slice',
  lower({ inputs: { x }, attrs: { from }, output }, to) {
    // Of one row, whole vec4 lie there one behind the other.
    const [C, N] = [x!.shape.at(-1)!, output.shape.at(-1)!];
    const whole = rowsOf(output) === 1 && from % 4 === 0 && (N % 4 === 0 || from + N === C);
    const elementBytes = output.dtype === 'f16' ? 2 : 4;
    to.dispatch({
      kernel: sliceKernel,
      tunables: { SHIFT: from % 4 },
      params: {
        rows: rowsOf(output),
        N,
        N4: width4(output),
        W4: width4(x!),
        first: Math.floor(from / 4),
      },
      bindings: { x, out: output },
      copies: whole ? { kind: 'cut', parts: ['x'], at: from * elementBytes } : undefined,
    });
  },
};

/** x […,C] → […,to − from], channels from ≤ c < to. @throws ShapeError unless 0 ≤ from < to ≤ C and x is in rows. */
export function slice(x: Tensor, from: number, to: number): Tensor {
  const C = x.shape.at(-1)!;
  const fits = Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from < to && to <= C;
  if (!fits || x.layout !== 'rows') {
    throw new ShapeError(
      `slice: expected 0 ≤ from < to ≤ ${C} of rows, got ${from} … ${to} of ${x.layout} ${formatShape(x.shape)}`,
    );
  }
  if (from === 0 && to === C) return x;
  return x.graph.record(sliceOp, { x }, { from }, [...x.shape.slice(0, -1), to - from]);
}
