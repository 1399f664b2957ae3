/** Concatenation along channels: the skip connections of a U-Net. */
import { defineKernel, formatShape, linearGrid, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, rowsOf, sameShape, width4 } from './common.ts';
import shader from './concat.wgsl';

/** Rows of one tensor followed by those of another, one vec4 per invocation. */
export const concatKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256], SHIFT: [0, 1, 2, 3] },
  grid: ({ rows, N4 }, t) => linearGrid(ceilDiv(rows * N4, t.WG)),
});

/** Inputs a […,A] and b […,B]; result […,A+B]. */
export const concatOp: Op<Record<string, never>> = {
  name: 'concat',
  lower({ inputs: { a, b }, output }, to) {
    const A = a!.shape.at(-1)!;
    to.dispatch({
      kernel: concatKernel,
      tunables: { SHIFT: A % 4 },
      params: { rows: rowsOf(output), A, A4: width4(a!), B4: width4(b!), N4: width4(output) },
      bindings: { a, b, out: output },
      copies: rowsOf(output) === 1 && A % 4 === 0 ? { kind: 'join', parts: ['a', 'b'] } : undefined,
    });
  },
};

/** a […,A], b […,B] → […,A+B]. @throws ShapeError unless all dimensions but the last are the same. */
export function concat(a: Tensor, b: Tensor): Tensor {
  const fits = sameShape(a.shape.slice(0, -1), b.shape.slice(0, -1));
  if (!fits || a.layout !== 'rows' || b.layout !== 'rows') {
    throw new ShapeError(
      `concat: expected equal shapes but for the channels, in rows, got ${formatShape(a.shape)} ${a.layout} and ` +
        `${formatShape(b.shape)} ${b.layout}`,
    );
  }
  return a.graph.record(concatOp, { a, b }, {}, [...a.shape.slice(0, -1), a.shape.at(-1)! + b.shape.at(-1)!]);
}
