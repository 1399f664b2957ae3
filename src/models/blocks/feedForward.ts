/** The two-layer network of a transformer block, under the names that diffusers' `FeedForward` gives its weights. */
import type { Tensor } from '../../engine/index.ts';
import { mul, slice, unary } from '../../kernels/index.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** What stands between the two layers, as configs name it; `geglu` and `swiglu` gate one half with the other. */
export const FEED_FORWARD_ACTIVATIONS = {
  geglu: 'gelu',
  swiglu: 'silu',
  gelu: 'gelu',
  'gelu-approximate': 'gelu_tanh',
  'geglu-approximate': 'quick_gelu',
  'linear-silu': 'silu',
} as const;
export type FeedForwardActivation = keyof typeof FEED_FORWARD_ACTIVATIONS;

/** x [B,T,D] → [B,T,D] through ⌊mult·D⌋ channels, plus `residual`. GEGLU, SwiGLU: Shazeer 2020, equation 6. */
export function feedForward(
  w: WeightScope,
  x: Tensor,
  { activation, residual, mult = 4 }: { activation: FeedForwardActivation; residual?: Tensor; mult?: number },
): Tensor {
  const D = x.shape.at(-1)!;
  const inner = Math.floor(mult * D);
  const act = FEED_FORWARD_ACTIVATIONS[activation];
  const first = w.at('net', 0, 'proj');
  let h: Tensor;
  if (activation === 'geglu' || activation === 'swiglu') {
    const both = dense(first, x, 2 * inner); // [B,T,2·inner]
    h = mul(slice(both, 0, inner), unary(slice(both, inner, 2 * inner), { act })); // [B,T,inner]
  } else {
    h = dense(first, x, inner, { act }); // [B,T,inner]
  }
  return dense(w.at('net', 2), h, D, { residual }); // [B,T,D]
}
