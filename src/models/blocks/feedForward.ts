/** The two-layer network of a transformer block, under the names that diffusers' `FeedForward` gives its weights. */
import type { Tensor } from '../../engine/index.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { gatedDense } from './gatedDense.ts';

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
  const gated = activation === 'geglu' || activation === 'swiglu';
  const h = gated ? gatedDense(first, x, inner, act) : dense(first, x, inner, { act }); // [B,T,inner]
  return dense(w.at('net', 2), h, D, { residual }); // [B,T,D]
}
