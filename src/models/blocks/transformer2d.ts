/**
 * Transformers over the pixels of a map that look at a context: the conditioning of latent diffusion, under the names
 * that diffusers' `Transformer2DModel` and `DualTransformer2DModel` give their weights.
 *
 * Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.3 and appendix E.2.1,
 * https://arxiv.org/abs/2112.10752
 */
import { InvalidArgumentError, type Tensor } from '../../engine/index.ts';
import { add, reshape } from '../../kernels/index.ts';
import { conv, dense, norm } from '../layers.ts';
import { takeTokens } from '../transformers/tokens.ts';
import type { WeightScope } from '../weightScope.ts';
import { feedForward } from './feedForward.ts';
import { gatedSelfAttention } from './gatedSelfAttention.ts';
import { affineLayerNorm } from './layerNorm.ts';
import { multiHeadAttention } from './multiHeadAttention.ts';

/** Told of the queries [B,T,inner] and keys [B,S,inner] of every attention to the context; T is height · width. */
export type AttentionProbe = (
  q: Tensor,
  k: Tensor,
  options: { heads: number; mask?: Tensor; size: readonly [height: number, width: number] },
) => void;

export interface Transformer2dOptions {
  heads: number;
  /** Blocks, one behind the other. */
  depth: number;
  /** Groups of the norm in front. */
  groups: number;
  /** Linear layers in place of 1×1 convolutions: the same arithmetic, weights of another rank. */
  linear?: boolean;
  /** The first attention of a block too looks at the context. */
  onlyCross?: boolean;
  /** Of the first attention, f32 [B,1,keys]. */
  mask?: Tensor;
  /** Of the second attention, f32 [B,1,S]. */
  contextMask?: Tensor;
  probe?: AttentionProbe;
  /** What each block's pixels look at between both attentions, [B,N,E]. */
  objects?: Tensor;
}

const NORM_EPS = 1e-6;

/** x [B,H,W,C], context [B,S,E] → [B,H,W,C]. */
export function transformer2d(w: WeightScope, x: Tensor, context: Tensor, o: Transformer2dOptions): Tensor {
  const [B, H, W, C] = x.shape;
  const { heads, depth, groups, linear = false } = o;
  const inner = heads * Math.floor(C / heads);
  const project = (name: string, t: Tensor, out: number, residual?: Tensor) =>
    linear
      ? dense(w.at(name), t, out, { residual: residual && reshape(residual, [B, H * W, C]) })
      : reshape(
          conv(w.at(name), reshape(t, [B, H, W, t.shape[2]]), out, { kernel: 1, residual }),
          [B, H * W, out], // a free view
        );
  const normed = norm(w.at('norm'), x, { groups, eps: NORM_EPS }); // [B,H,W,C]
  let h = project('proj_in', reshape(normed, [B, H * W, C]), inner); // [B,T,inner]
  for (let i = 0; i < depth; i++) {
    h = transformerBlock(w.at('transformer_blocks', i), h, context, o, [H, W]); // [B,T,inner]
  }
  return reshape(project('proj_out', h, C, x), [B, H, W, C]); // [B,H,W,C]
}

/** Self-attention, cross-attention, feed-forward, each behind a norm and beside a residual; x [B,T,D] → [B,T,D]. */
function transformerBlock(
  w: WeightScope,
  x: Tensor,
  context: Tensor,
  o: Transformer2dOptions,
  size: readonly [number, number],
): Tensor {
  const { heads, onlyCross, mask, contextMask } = o;
  const probe = o.probe && ((q: Tensor, k: Tensor) => o.probe!(q, k, { heads, mask: contextMask, size }));
  const headDim = x.shape[2] / heads;
  const n1 = affineLayerNorm(w.at('norm1'), x); // [B,T,D]
  const first = { heads, headDim, mask, residual: x };
  x = multiHeadAttention(w.at('attn1'), n1, onlyCross ? context : undefined, first); // [B,T,D]
  if (o.objects) x = gatedSelfAttention(w.at('fuser'), x, o.objects, { heads, headDim }); // [B,T,D]
  const n2 = affineLayerNorm(w.at('norm2'), x); // [B,T,D]
  const second = { heads, headDim, mask: contextMask, residual: x, probe };
  x = multiHeadAttention(w.at('attn2'), n2, context, second); // [B,T,D]
  const n3 = affineLayerNorm(w.at('norm3'), x); // [B,T,D]
  return feedForward(w.at('ff'), n3, { activation: 'geglu', residual: x }); // [B,T,D]
}

/** Tokens of the text, then of the picture, and which of the two transformers looks at them. */
const CONDITIONS = [
  { tokens: 77, transformer: 1 },
  { tokens: 257, transformer: 0 },
] as const;

/**
 * Versatile Diffusion's pair: one transformer looks at the first 77 tokens of the context, one at the 257 behind them,
 * and the mean of both results is taken. x [B,H,W,C], context [B,S,E] → [B,H,W,C]. Xu et al. 2022, section 3.3,
 * https://arxiv.org/abs/2211.08332
 * @throws InvalidArgumentError for a context of at most 77 tokens.
 */
export function dualTransformer2d(w: WeightScope, x: Tensor, context: Tensor, o: Transformer2dOptions): Tensor {
  const S = context.shape[1];
  if (S <= CONDITIONS[0].tokens) {
    throw new InvalidArgumentError(
      `dual attention: expected a context of 77 text and 257 image tokens, got ${S}; join both, text first`,
    );
  }
  const results: Tensor[] = [];
  let start = 0;
  for (const { tokens, transformer } of CONDITIONS) {
    const end = Math.min(S, start + tokens);
    const part = takeTokens(context, start, end); // [B,S',E]
    const at = w.at('transformers', transformer);
    results.push(transformer2d(at, x, part, { ...o, depth: 1, linear: false })); // [B,H,W,C]
    start = end;
  }
  // Each holds its own residual: the mean of both is x plus the mean of what they add.
  return add(results[0], results[1], { alpha: 0.5, beta: 0.5 }); // [B,H,W,C]
}
