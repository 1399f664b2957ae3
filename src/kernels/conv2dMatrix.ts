/** Convolutions by subgroup matrices, at once or, for small maps, in parts and then their sum. */
import { defineKernel, linearGrid, type Lowering, type Node, type Tensor } from '../engine/index.ts';
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
  type UsualMatrix,
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

/** What a convolution is as a product. */
function productOf({ B, OH, OW, I, O, R, S }: Conv2dAttrs) {
  return { pixels: B * OH * OW, O4: ceilDiv(O, 4), K4: R * S * ceilDiv(I, 4) };
}

/**
 * The whole tile and the parts that a device should take for a convolution, where it has matrices and they are halves.
 */
export function matrixChoice({ attrs }: Node<Conv2dAttrs>, to: Lowering): { whole?: UsualMatrix; parts?: MatrixParts } {
  if (to.graph.dtype !== 'f16') return {};
  const { pixels, O4, K4 } = productOf(attrs);
  return {
    whole: usualMatrix(pixels, O4, K4, matrixTiles(to.caps)),
    parts: matrixParts(pixels, O4, K4, to.caps),
  };
}

/**
 * The ways that a device offers for a convolution, by name, and the one that should take least time, if any will do.
 */
export function matrixWays(
  node: Node<Conv2dAttrs>,
  to: Lowering,
): { ways: Record<string, () => void>; usual?: string } {
  const ways: Record<string, () => void> = {};
  if (to.graph.dtype !== 'f16') return { ways };
  for (const [name, tile] of Object.entries(matrixTiles(to.caps))) {
    ways[name] = () => lowerWhole(node, to, tile);
  }
  const { whole, parts } = matrixChoice(node, to);
  if (!parts) return { ways, usual: whole?.way };
  ways['matrix split'] = () => lowerParts(node, to, parts);
  return { ways, usual: partsPay(parts, whole) ? 'matrix split' : whole?.way };
}

function isExact({ attrs }: Node<Conv2dAttrs>, tile: MatrixTile): boolean {
  const { pixels, O4, K4 } = productOf(attrs);
  return matrixExact(tile, pixels, O4, K4);
}

function lowerWhole(node: Node<Conv2dAttrs>, to: Lowering, tile: MatrixTile): void {
  const { inputs, attrs, output } = node;
  const { x, weight, bias, shift, residual } = inputs;
  const { tunables, params } = convOut(node);
  to.dispatch({
    kernel: conv2dMatrixKernel,
    tunables: { ...tile, EXACT: isExact(node, tile), ...tunables, UP: attrs.up ?? 1 },
    params: { ...convGeometry(attrs), ...params },
    bindings: { input: x, w: weight, bias, shift, residual, out: output },
    flops: convFlops(attrs),
  });
}

/** The first of two passes: f32 [parts,B·OH·OW,O]. */
export function lowerSums(node: Node<Conv2dAttrs>, to: Lowering, { tile, part4, parts }: MatrixParts): Tensor {
  const { inputs, attrs } = node;
  const sizes = convGeometry(attrs);
  const { pixels, O4 } = productOf(attrs);
  const sums = to.scratch([parts, pixels, 4 * O4], 'f32');
  to.dispatch({
    kernel: conv2dMatrixSplitKernel,
    tunables: { ...tile, EXACT: isExact(node, tile), UP: attrs.up ?? 1 },
    params: { ...sizes, part4 },
    bindings: { input: inputs.x, w: inputs.weight, sums },
    flops: convFlops(attrs),
  });
  return sums;
}

function lowerParts(node: Node<Conv2dAttrs>, to: Lowering, parts: MatrixParts): void {
  const sums = lowerSums(node, to, parts);
  const { bias, shift, residual } = node.inputs;
  const { B, OH, OW, O4 } = convGeometry(node.attrs);
  const { tunables, params } = convOut(node);
  to.dispatch({
    kernel: conv2dJoinKernel,
    tunables,
    params: { B, OH, OW, O4, parts: parts.parts, ...params },
    bindings: { sums, bias, shift, residual, out: node.output },
  });
}
