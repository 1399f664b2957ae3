/** Convolutions by subgroup matrices, at once or, for small maps, in parts and then their sum. */
import { defineKernel, linearGrid, type Lowering, type Node } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import type { Conv2dAttrs } from './conv2d.ts';
import joinShader from './conv2dJoin.wgsl';
import shader from './conv2dMatrix.wgsl';
import splitShader from './conv2dMatrixSplit.wgsl';
import { CONV_OUT, convFlops, convGeometry, convOut } from './convOut.ts';
import {
  MATRIX,
  matrixColumns4,
  matrixExact,
  matrixFits,
  matrixParts,
  matrixRows,
  matrixTiles,
  partsPay,
  usualMatrix,
  type MatrixParts,
  type MatrixTile,
} from './matrices.ts';

/** Implicit matrix multiplication by subgroup matrices; for GPUs that have them, and halves. */
export const conv2dMatrixKernel = defineKernel({
  shader,
  tunables: { ...MATRIX, EXACT: [false, true], ...CONV_OUT, UP: [1, 2] },
  grid({ B, OH, OW, O4 }, t) {
    const [y, z] = linearGrid(ceilDiv(B * OH * OW, matrixRows(t)));
    return [ceilDiv(O4, matrixColumns4(t)), y, z];
  },
  valid: matrixFits,
});

/** In two passes: parts of the sums, f32 [parts,B,OH,OW,O] … */
export const conv2dMatrixSplitKernel = defineKernel({
  shader: splitShader,
  tunables: { ...MATRIX, EXACT: [false, true], UP: [1, 2] },
  grid: ({ B, OH, OW, O4, R, S, I4, part4 }, t) => [
    ceilDiv(O4, matrixColumns4(t)),
    ceilDiv(B * OH * OW, matrixRows(t)),
    ceilDiv(R * S * I4, part4),
  ],
  valid: matrixFits,
});

/** … and their sum, with everything behind it. */
export const conv2dJoinKernel = defineKernel({
  shader: joinShader,
  tunables: { WG: [64], ...CONV_OUT },
  grid: ({ B, OH, OW, O4 }, t) => linearGrid(ceilDiv(B * OH * OW * O4, t.WG)),
});

/** The ways that a device offers for a convolution, by name, and the one that should take least time, if any will do. */
export function matrixWays(
  node: Node<Conv2dAttrs>,
  to: Lowering,
): { ways: Record<string, () => void>; usual?: string } {
  const ways: Record<string, () => void> = {};
  if (to.graph.dtype !== 'f16') return { ways };
  const { B, OH, OW, I, O, R, S } = node.attrs;
  const [pixels, O4, K4] = [B * OH * OW, ceilDiv(O, 4), R * S * ceilDiv(I, 4)];
  const tiles = matrixTiles(to.caps);
  for (const [name, tile] of Object.entries(tiles)) {
    ways[name] = () => lowerWhole(node, to, tile, matrixExact(tile, pixels, O4, K4));
  }
  const whole = usualMatrix(pixels, O4, K4, tiles);
  const parts = matrixParts(pixels, O4, K4, to.caps);
  if (!parts) return { ways, usual: whole?.way };
  ways['matrix split'] = () => lowerParts(node, to, parts, matrixExact(parts.tile, pixels, O4, K4));
  return { ways, usual: partsPay(parts, whole) ? 'matrix split' : whole?.way };
}

function lowerWhole(node: Node<Conv2dAttrs>, to: Lowering, tile: MatrixTile, EXACT: boolean): void {
  const { inputs, attrs, output } = node;
  const { x, weight, bias, shift, residual } = inputs;
  const { tunables, params } = convOut(node);
  to.dispatch({
    kernel: conv2dMatrixKernel,
    tunables: { ...tile, EXACT, ...tunables, UP: attrs.up ?? 1 },
    params: { ...convGeometry(attrs), ...params },
    bindings: { input: x, w: weight, bias, shift, residual, out: output },
    flops: convFlops(attrs),
  });
}

function lowerParts(node: Node<Conv2dAttrs>, to: Lowering, { tile, part4 }: MatrixParts, EXACT: boolean): void {
  const { inputs, attrs, output } = node;
  const { x, weight, bias, shift, residual } = inputs;
  const sizes = convGeometry(attrs);
  const { B, OH, OW, O4, R, S, I4 } = sizes;
  const parts = ceilDiv(R * S * I4, part4);
  const sums = to.scratch([parts, B * OH * OW, 4 * O4], 'f32');
  to.dispatch({
    kernel: conv2dMatrixSplitKernel,
    tunables: { ...tile, EXACT, UP: attrs.up ?? 1 },
    params: { ...sizes, part4 },
    bindings: { input: x, w: weight, sums },
    flops: convFlops(attrs),
  });
  const { tunables, params } = convOut(node);
  to.dispatch({
    kernel: conv2dJoinKernel,
    tunables,
    params: { B, OH, OW, O4, parts, ...params },
    bindings: { sums, bias, shift, residual, out: output },
  });
}
