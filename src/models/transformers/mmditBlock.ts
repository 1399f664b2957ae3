/** The block of two streams that Stable Diffusion 3 and Flux share. Esser et al. 2024, figure 2 (b). */
import type { Tensor } from '../../engine/index.ts';
import { feedForward } from '../blocks/feedForward.ts';
import type { WeightScope } from '../weightScope.ts';
import { jointAttention, selfAttention, type HeadOptions } from './jointAttention.ts';
import { adaptiveNorm, continuousNorm, gatedAdd, modulation } from './modulation.ts';

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

/** A stream's six vectors, and its second attention's three where it has one. */
type Vectors = readonly Tensor[];

/**
 * One block. c [B,D] is the condition, activated.
 * @param table rotary positions of all S+T tokens
 */
export function mmditBlock(w: WeightScope, s: Streams, c: Tensor, o: MmditOptions, table?: Tensor): Streams {
  const { contextPreOnly = false, dual = false } = o;
  const D = s.x.shape[2];
  const own: Vectors = modulation(w.at('norm1', 'linear'), c, D, dual ? 9 : 6); // [B,D]
  const [shift, scale, gate] = own;
  const n = adaptiveNorm(s.x, scale, shift); // [B,T,D]
  const text: Vectors | undefined = contextPreOnly ? undefined : modulation(w.at('norm1_context', 'linear'), c, D, 6);
  const m = text ? adaptiveNorm(s.context, text[1], text[0]) : continuousNorm(w.at('norm1_context'), s.context, c);
  const [a, b] = jointAttention(w.at('attn'), n, m, { ...o, contextOut: text !== undefined }, table);
  let x = gatedAdd(s.x, a, gate); // [B,T,D]
  if (dual) {
    const [shift2, scale2, gate2] = own.slice(6);
    x = gatedAdd(x, selfAttention(w.at('attn2'), adaptiveNorm(s.x, scale2, shift2), o), gate2); // [B,T,D]
  }
  x = feedForwardPart(w.at('ff'), x, own); // [B,T,D]
  if (!text || !b) return { x, context: s.context };
  const context = gatedAdd(s.context, b, text[2]); // [B,S,D]
  return { x, context: feedForwardPart(w.at('ff_context'), context, text) }; // [B,S,D]
}

/** The second half of a stream's block; x [B,T,D]. */
function feedForwardPart(w: WeightScope, x: Tensor, [, , , shift, scale, gate]: Vectors): Tensor {
  const n = adaptiveNorm(x, scale, shift); // [B,T,D]
  return gatedAdd(x, feedForward(w, n, { activation: 'gelu-approximate' }), gate); // [B,T,D]
}
