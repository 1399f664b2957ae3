/** Graph ops and the kernels behind them. */
export { linear, linearOp, matmulKernel } from './matmul.ts';
export { add, elementwiseKernel, mul, scaleShift, unary } from './elementwise.ts';
export { fromNchw, fromNchwKernel, toNchw, toNchwKernel } from './layout.ts';
export { ACTIVATIONS } from './common.ts';
export type { Activation } from './common.ts';
export { packConv, packMatrix, packRows, packVector } from './packing.ts';
