/** Naive f64 truth of linear algebra. */
import { activation, type ActivationName } from './activation.ts';

/** act(x Wᵀ + b) + residual, scaled; x [M,K], w [N,K]. */
export function linearReference(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  { M, N, K }: { M: number; N: number; K: number },
  o: { bias?: ArrayLike<number>; residual?: ArrayLike<number>; act?: ActivationName; scale?: number } = {},
): Float64Array {
  const out = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = o.bias?.[n] ?? 0;
      for (let k = 0; k < K; k++) sum += x[m * K + k] * w[n * K + k];
      out[m * N + n] = (activation(sum, o.act ?? 'none') + (o.residual?.[m * N + n] ?? 0)) * (o.scale ?? 1);
    }
  }
  return out;
}
