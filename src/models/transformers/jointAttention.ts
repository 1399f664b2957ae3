/**
 * Attention of two streams, picture and text, to both together. Esser et al. 2024, figure 2,
 * https://arxiv.org/abs/2403.03206
 */
import type { Tensor } from '../../engine/index.ts';
import { attention, layerNorm, reshape } from '../../kernels/index.ts';
import { rmsNorm } from '../../kernels/rmsNorm.ts';
import { rope } from '../../kernels/rope.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import { EPS } from './modulation.ts';
import { joinTokens, takeTokens } from './tokens.ts';

/** Norms of queries and keys per head, by the names of diffusers; the f32 one has no weights. */
export const QK_NORMS = ['rms_norm', 'layer_norm', 'fp32_layer_norm'] as const;
/** One of {@link QK_NORMS}. */
export type QkNorm = (typeof QK_NORMS)[number];

/** What the streams' projections have in common. */
export interface HeadOptions {
  heads: number;
  headDim: number;
  qkNorm?: QkNorm;
}

/** Queries, keys and values of one stream, [B,T,heads·d] each. */
type Projections = readonly [Tensor, Tensor, Tensor];

/** Of attention within one stream. */
const OWN = { projections: ['to_q', 'to_k', 'to_v'], norms: ['norm_q', 'norm_k'] } as const;
/** Of the text, beside the picture's. */
const ADDED = {
  projections: ['add_q_proj', 'add_k_proj', 'add_v_proj'],
  norms: ['norm_added_q', 'norm_added_k'],
} as const;

function project(w: WeightScope, x: Tensor, names: typeof OWN | typeof ADDED, o: HeadOptions): Projections {
  const inner = o.heads * o.headDim;
  const [q, k, v] = names.projections.map((name) => dense(w.at(name), x, inner)); // [B,T,inner]
  const [nq, nk] = names.norms.map((name) => w.at(name));
  return [headNorm(nq, q, o), headNorm(nk, k, o), v];
}

/** Every head of x [B,T,heads·d] normalised by itself. */
function headNorm(w: WeightScope, x: Tensor, { heads, headDim: d, qkNorm }: HeadOptions): Tensor {
  if (qkNorm === undefined) return x;
  const [B, T, inner] = x.shape;
  const weight = qkNorm === 'fp32_layer_norm' ? undefined : w.param('weight', [d]);
  const bias = qkNorm === 'layer_norm' ? w.param('bias', [d]) : undefined;
  return x.graph.scope(w.path, () => {
    const apart = reshape(x, [B, T, heads, d]); // [B,T,heads,d]
    const n =
      qkNorm === 'rms_norm' ? rmsNorm(apart, weight, { eps: EPS }) : layerNorm(apart, weight, bias, { eps: EPS });
    return reshape(n, [B, T, inner]); // [B,T,inner]
  });
}

/** Tokens turned by their positions, if there are any; x [B,T,heads·d]. */
function turned(x: Tensor, table: Tensor | undefined, { heads, headDim: d }: HeadOptions): Tensor {
  if (!table) return x;
  const [B, T, inner] = x.shape;
  return reshape(rope(reshape(x, [B, T, heads, d]), table), [B, T, inner]); // [B,T,inner]
}

function attend(w: WeightScope, [q, k, v]: Projections, table: Tensor | undefined, o: HeadOptions): Tensor {
  const { heads } = o;
  return q.graph.scope(w.path, () => attention(turned(q, table, o), turned(k, table, o), v, { heads })); // [B,T,inner]
}

/** Self-attention of one stream, without the projection behind; x [B,T,D] → [B,T,heads·d]. */
export function headAttention(w: WeightScope, x: Tensor, o: HeadOptions, table?: Tensor): Tensor {
  return attend(w, project(w, x, OWN, o), table, o); // [B,T,inner]
}

/** The same with it: x [B,T,D] → [B,T,D]. */
export function selfAttention(w: WeightScope, x: Tensor, o: HeadOptions): Tensor {
  return dense(w.at('to_out', 0), headAttention(w, x, o), x.shape[2]); // [B,T,D]
}

/**
 * x [B,T,D] and context [B,S,D] attend to both, the context standing first: → [B,T,D] and [B,S,D].
 * @param o.contextOut whether the context goes on; its result is undefined otherwise
 * @param table rotary positions of all S+T tokens
 */
export function jointAttention(
  w: WeightScope,
  x: Tensor,
  context: Tensor,
  o: HeadOptions & { contextOut: boolean },
  table?: Tensor,
): readonly [Tensor, Tensor | undefined] {
  const [T, S, D] = [x.shape[1], context.shape[1], x.shape[2]];
  const own = project(w, x, OWN, o); // [B,T,inner]
  const added = project(w, context, ADDED, o); // [B,S,inner]
  const [q, k, v] = x.graph.scope(w.path, () => own.map((t, i) => joinTokens(added[i], t))); // [B,S+T,inner]
  const all = attend(w, [q, k, v], table, o); // [B,S+T,inner]
  const out = dense(w.at('to_out', 0), takeTokens(all, S, S + T), D); // [B,T,D]
  return [out, o.contextOut ? dense(w.at('to_add_out'), takeTokens(all, 0, S), D) : undefined];
}
