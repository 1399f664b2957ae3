/** Products by subgroup matrices; for GPUs that have them, and halves. */
import { defineKernel, linearGrid, type Kernel } from '../engine/index.ts';
import { ceilDiv } from './common.ts';
import { LINEAR_NORM, LINEAR_OUT } from './linearOut.ts';
import { MATRIX, matrixColumns4, matrixFits, matrixRows } from './matrices.ts';
import shader from './matmulMatrix.wgsl';
import normShader from './matmulMatrixNorm.wgsl';
import splitShader from './matmulMatrixSplit.wgsl';

const whole: Pick<Kernel, 'grid' | 'valid'> = {
  grid({ M, N4 }, t) {
    const [y, z] = linearGrid(ceilDiv(M, matrixRows(t)));
    return [ceilDiv(t.GATED ? 2 * N4 : N4, matrixColumns4(t)), y, z];
  },
  valid: matrixFits,
};

/** The sums at once, with everything behind them. */
export const matmulMatrixKernel = defineKernel({
  shader,
  tunables: { ...MATRIX, EXACT: [false, true], ...LINEAR_OUT, HAS_SECOND: [false, true] },
  ...whole,
});

/** The same with a layer norm in front of them. */
export const matmulMatrixNormKernel = defineKernel({
  shader: normShader,
  tunables: { ...MATRIX, EXACT: [false, true], ...LINEAR_OUT, ...LINEAR_NORM },
  ...whole,
});

/** Parts of the sums, f32 [parts,M,columns], for `matmulJoin`. */
export const matmulMatrixSplitKernel = defineKernel({
  shader: splitShader,
  tunables: { ...MATRIX, EXACT: [false, true], HAS_SECOND: [false, true] },
  grid: ({ M, K4, part4, columns }, t) => [
    ceilDiv(columns, matrixColumns4(t)),
    ceilDiv(M, matrixRows(t)),
    ceilDiv(K4, part4),
  ],
  valid: matrixFits,
});
