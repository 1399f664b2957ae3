/** The block of two streams that Stable Diffusion 3 and Flux share. Esser et al. 2024, figure 2 (b). */
import type { Tensor } from '../../engine/index.ts';
import { feedForward } from '../blocks/feedForward.ts';
import type { WeightScope } from '../weightScope.ts';
import { jointAttention, selfAttention, type HeadOptions } from './jointAttention.ts';
import { adaptiveNorm, continuousNorm, gatedAdd, modulation, type Modulation } from './modulation.ts';

/** Both streams, [B,T,D] and [B,S,D]; the text ends with the last block of Stable Diffusion 3. */
export interface Streams {
  x: Tensor;
  context: Tensor;
}

export interface MmditOptions extends HeadOptions {
  /** The text is read here for the last time. */
  contextPreOnly?: boolean;
  /** The picture also attends to itself alone (MMDiT-X of Stable Diffusion 3.5). */
  dual?: boolean;
}

/** Where a stream's vectors lie: those of its attention, of its feed-forward network, and of its second attention. */
const [FIRST, SECOND, DUAL] = [0, 3, 6].map((i) => ({ shift: i, scale: i + 1, gate: i + 2 }));

/**
 * One block. c [B,D] is the condition, activated.
 * @param table rotary positions of all S+T tokens
 */
export function mmditBlock(w: WeightScope, s: Streams, c: Tensor, o: MmditOptions, table?: Tensor): Streams {
  const { contextPreOnly = false, dual = false } = o;
  const D = s.x.shape[2];
  const own = modulation(w.at('norm1', 'linear'), c, D, dual ? 9 : 6); // [B,D] each
  const n = adaptiveNorm(s.x, own, FIRST); // [B,T,D]
  const at = w.at('norm1_context');
  const text = contextPreOnly ? undefined : modulation(at.at('linear'), c, D, 6); // [B,D] each
  const m = text ? adaptiveNorm(s.context, text, FIRST) : continuousNorm(at, s.context, c); // [B,S,D]
  const [a, b] = jointAttention(w.at('attn'), n, m, { ...o, contextOut: text !== undefined }, table);
  let x = gatedAdd(s.x, a, own, FIRST.gate); // [B,T,D]
  // Before the picture goes on: then nothing holds the result of the attention any longer.
  const context = text && b && gatedAdd(s.context, b, text, FIRST.gate); // [B,S,D]
  if (dual) x = gatedAdd(x, selfAttention(w.at('attn2'), adaptiveNorm(s.x, own, DUAL), o), own, DUAL.gate); // [B,T,D]
  x = feedForwardPart(w.at('ff'), x, own); // [B,T,D]
  if (!text || !context) return { x, context: s.context };
  return { x, context: feedForwardPart(w.at('ff_context'), context, text) }; // [B,S,D]
}

/** The second half of a stream's block; x [B,T,D]. */
function feedForwardPart(w: WeightScope, x: Tensor, m: Modulation): Tensor {
  const n = adaptiveNorm(x, m, SECOND); // [B,T,D]
  return gatedAdd(x, feedForward(w, n, { activation: 'gelu-approximate' }), m, SECOND.gate); // [B,T,D]
}
