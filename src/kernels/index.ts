/** Graph ops and the kernels behind them. */
export { attention, ATTENTION_ALGORITHMS, attentionBlockKernel, attentionOp, attentionRowKernel } from './attention.ts';
export type { AttentionAlgorithm, AttentionOptions } from './attention.ts';
export { attentionMixKernel, attentionScoresKernel, attentionSoftmaxKernel } from './attentionPasses.ts';
export { avgPool2, avgPool2Kernel } from './avgPool2.ts';
export { ACTIVATIONS } from './common.ts';
export type { Activation } from './common.ts';
export { concat, concatKernel } from './concat.ts';
export { conv2d, conv2dKernel, conv2dOp, conv2dSubgroupKernel } from './conv2d.ts';
export type { Conv2dOptions, Padding } from './conv2d.ts';
export { copyRowsKernel, reshape } from './copyRows.ts';
export { add, elementwiseKernel, elementwiseOp, mul, scaleShift, unary } from './elementwise.ts';
export { embedding, embeddingKernel, expectIds } from './embedding.ts';
export { firDownsample, firResampleKernel, firUpsample } from './firResample.ts';
export type { FirOptions } from './firResample.ts';
export {
  groupNorm,
  groupNormApplyKernel,
  groupNormFinaliseKernel,
  GROUP_NORM_ALGORITHMS,
  groupNormOp,
  groupNormSlabKernel,
  groupNormStatsKernel,
} from './groupNorm.ts';
export type { GroupNormAlgorithm } from './groupNorm.ts';
export { fromNchw, fromNchwKernel, toNchw, toNchwKernel } from './layout.ts';
export { layerNorm, layerNormKernel } from './layerNorm.ts';
export { linear, linearOp, matmulKernel, matmulSubgroupKernel } from './matmul.ts';
export { packConv, packGated, packGatedVector, packMatrix, packRows, packVector } from './packing.ts';
export { optionalRewrites, rewrites } from './rewrites.ts';
export { slice, sliceKernel } from './slice.ts';
export { upsampleNearest, upsampleNearestKernel } from './upsampleNearest.ts';
export { vectorLinearKernel } from './vectorLinear.ts';
export { vecMatchStdKernel, vecNormRatioKernel, vecProgramKernel, vecQuantileKernel, vecStatsKernel } from './vec.ts';
export { wideConv2d, wideLinear } from './wideWeights.ts';
