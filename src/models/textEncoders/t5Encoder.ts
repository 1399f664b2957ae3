/**
 * The encoder of T5: attention whose scores are not scaled and get a bias by distance; norms that do not subtract the
 * mean.
 *
 * Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
 * https://arxiv.org/abs/1910.10683; the gated network of v1.1 is Shazeer 2020, https://arxiv.org/abs/2002.05202.
 */
import type { Tensor } from '../../engine/index.ts';
import { attention, embedding, mul, unary } from '../../kernels/index.ts';
import { relativeBias } from '../../kernels/relativeBias.ts';
import { rmsNorm } from '../../kernels/rmsNorm.ts';
import { dense } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { T5Config } from './t5Config.ts';

/** Host-made inputs of a call. */
export interface T5Inputs {
  /** u32 [B,T]. */
  ids: Tensor;
  /** u32 [2T − 1], see {@link relativeBuckets}. */
  buckets: Tensor;
  /** f32 [B,T]: −∞ for padding; undefined where everything is looked at. */
  padding: Tensor | undefined;
}

/**
 * T5's sums over layers grow beyond 65,504, the largest half. Norms divide their size away again, so in halves
 * everything that is added up is this much smaller: a power of two, which costs no precision.
 */
const HALVED = 2 ** -6;

/** Tokens → states [B,T,D], normed. */
export function t5Encoder(config: T5Config, w: WeightScope, { ids, buckets, padding }: T5Inputs): Tensor {
  const { vocabSize, dModel: D, layers, heads, buckets: K, eps } = config;
  const e = w.at('encoder');
  const shared = w.param('shared.weight', [vocabSize, D]);
  // All layers share the first one's biases.
  const first = e.at('block', 0, 'layer', 0, 'SelfAttention', 'relative_attention_bias');
  const table = first.param('weight', [K, heads]);
  const mask = ids.graph.scope(first.path, () => relativeBias(buckets, table, padding)); // [B or 1,heads,T,T]
  const size = ids.graph.dtype === 'f16' ? HALVED : 1;
  let x = ids.graph.scope('shared', () => embedding(ids, shared)); // [B,T,D]
  if (size !== 1) x = unary(x, { alpha: size }); // [B,T,D]
  for (let i = 0; i < layers; i++) x = t5Block(config, e.at('block', i), x, mask, size); // [B,T,D]
  return scaleNorm(e.at('final_layer_norm'), x, eps * size ** 2); // [B,T,D]
}

/** x [B,T,D] → [B,T,D], both `size` times what they stand for. */
function t5Block(config: T5Config, w: WeightScope, x: Tensor, mask: Tensor, size: number): Tensor {
  const { dModel: D, dKv, dFf, heads, act, gated } = config;
  const eps = config.eps * size ** 2;
  const inner = heads * dKv;
  const attn = w.at('layer', 0, 'SelfAttention');
  const n = scaleNorm(w.at('layer', 0, 'layer_norm'), x, eps); // [B,T,D]
  const q = dense(attn.at('q'), n, inner, { bias: false }); // [B,T,inner]
  const k = dense(attn.at('k'), n, inner, { bias: false }); // [B,T,inner]
  const v = dense(attn.at('v'), n, inner, { bias: false, scale: size }); // [B,T,inner]
  const a = x.graph.scope(attn.path, () => attention(q, k, v, { heads, scale: 1, mask })); // [B,T,inner]
  x = dense(attn.at('o'), a, D, { bias: false, residual: x }); // [B,T,D]
  const ff = w.at('layer', 1, 'DenseReluDense');
  const m = scaleNorm(w.at('layer', 1, 'layer_norm'), x, eps); // [B,T,D]
  let h: Tensor;
  if (gated) {
    const gate = dense(ff.at('wi_0'), m, dFf, { bias: false, act }); // [B,T,F]
    const value = dense(ff.at('wi_1'), m, dFf, { bias: false }); // [B,T,F]
    h = x.graph.scope(ff.path, () => mul(gate, value, { alpha: size })); // [B,T,F]
  } else {
    h = dense(ff.at('wi'), m, dFf, { bias: false, act, scale: size }); // [B,T,F]
  }
  return dense(ff.at('wo'), h, D, { bias: false, residual: x }); // [B,T,D]
}

function scaleNorm(w: WeightScope, x: Tensor, eps: number): Tensor {
  const weight = w.param('weight', [x.shape.at(-1)!]);
  return x.graph.scope(w.path, () => rmsNorm(x, weight, { eps }));
}

/**
 * Row of the bias table by the distance key − query, from 1 − T to T − 1. Half of the buckets are for keys behind the
 * query, half for those before it; of each half the first half counts single steps, and the rest grows with the
 * logarithm of the distance up to `maxDistance`.
 */
export function relativeBuckets(T: number, { buckets, maxDistance }: Pick<T5Config, 'buckets' | 'maxDistance'>) {
  const half = Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  const { fround, log } = Math;
  // In f32, as the reference counts: distances at the very edge of a bucket fall where training had them.
  const span = fround(log(maxDistance / exact));
  return Uint32Array.from({ length: 2 * T - 1 }, (_, i) => {
    const distance = i - (T - 1);
    const n = Math.abs(distance);
    const behind = distance > 0 ? half : 0;
    if (n < exact) return behind + n;
    const grown = fround(fround(fround(log(fround(n / exact))) / span) * (half - exact));
    return behind + Math.min(half - 1, exact + Math.trunc(grown));
  });
}
