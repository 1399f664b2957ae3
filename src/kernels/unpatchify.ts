/** The last step of a diffusion transformer: tokens become a picture again. */
import { defineKernel, formatShape, linearGrid, numel, ShapeError, type Op, type Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './unpatchify.wgsl';

/** Tokens to dense NCHW f32, one element per invocation. */
export const unpatchifyKernel = defineKernel({
  shader,
  tunables: { WG: [64, 128, 256] },
  grid: ({ count }, t) => linearGrid(ceilDiv(count, t.WG)),
});

/** How the channels of a token are ordered: rows, columns, channels of its patch (DiT), or channels first (Flux). */
export type PatchOrder = 'pixels' | 'channels';

interface UnpatchifyAttrs {
  patch: number;
  order: PatchOrder;
}

const unpatchifyOp: Op<UnpatchifyAttrs> = {
  name: 'unpatchify',
  lower({ inputs: { tokens }, attrs: { patch, order }, output }, to) {
    const [, C, H, W] = output.shape;
    const strides =
      order === 'pixels'
        ? { rowStride: patch * C, columnStride: C, channelStride: 1 }
        : { rowStride: patch, columnStride: 1, channelStride: patch * patch };
    to.dispatch({
      kernel: unpatchifyKernel,
      params: { count: numel(output.shape), C, H, W, side: patch, N4: width4(tokens!), ...strides },
      bindings: { tokens, out: output },
    });
  },
};

/**
 * tokens [B,rows·columns,patch²·C] → dense f32 [B,C,rows·patch,columns·patch].
 * @throws ShapeError when the tokens do not make up that grid, or patch² does not divide their channels.
 */
export function unpatchify(
  tokens: Tensor,
  { rows, columns, patch, order = 'pixels' }: { rows: number; columns: number; patch: number; order?: PatchOrder },
): Tensor {
  expectRank('unpatchify', 'tokens', tokens, 3, '[B,T,patch²·C]');
  const [B, T, N] = tokens.shape;
  const C = N / (patch * patch);
  if (T !== rows * columns || !Number.isInteger(C)) {
    throw new ShapeError(
      `unpatchify: expected tokens [B,${rows}·${columns},${patch}²·C], got ${formatShape(tokens.shape)}`,
    );
  }
  const shape = [B, C, rows * patch, columns * patch];
  return tokens.graph.record(unpatchifyOp, { tokens }, { patch, order }, shape, { dtype: 'f32', layout: 'dense' });
}
