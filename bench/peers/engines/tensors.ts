/** Which ways are tried of peers that compute with tensors: jax-js and TensorFlow.js. */
import type { Problem } from '../../kernels/problem.ts';

/** Weights of a matrix product as [K, N], not as [N, K]: they are constants, and may lie as suits a peer best. */
export const TRANSPOSED = 'weights transposed';

export function tensorVariants({ op }: Problem): readonly string[] {
  if (op === 'matmul') return ['default', TRANSPOSED];
  return op === 'conv2d' || op === 'attention' ? ['default'] : [];
}
