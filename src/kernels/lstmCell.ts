/** One step of an LSTM, from its gates. */
import { defineKernel, linearGrid, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, expectSame, width4 } from './common.ts';
import shader from './lstmCell.wgsl';

/** One vec4 of the new state per invocation. */
export const lstmCellKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ B, S4 }, t) => linearGrid(ceilDiv(B * S4, t.WG)),
});

const lstmCellOp: Op<Record<string, never>> = {
  name: 'lstmCell',
  lower({ inputs: { gates, state }, output }, to) {
    const [B, twoH] = output.shape;
    to.dispatch({
      kernel: lstmCellKernel,
      params: { B, H: twoH / 2, S4: width4(output) },
      bindings: { gates, state, out: output },
    });
  },
};

/**
 * gates [B,4H] (i, f, g, o, before their activations) and state [B,2H] (h, then c) → the next state [B,2H].
 * @throws ShapeError for other shapes.
 */
export function lstmCell(gates: Tensor, state: Tensor): Tensor {
  expectRank('lstmCell', 'gates', gates, 2, '[B,4H]');
  const [B, fourH] = gates.shape;
  expectRank('lstmCell', 'state', state, 2, '[B,2H]');
  expectSame('lstmCell', 'state', state, [B, fourH / 2]);
  return gates.graph.record(lstmCellOp, { gates, state }, {}, state.shape);
}
