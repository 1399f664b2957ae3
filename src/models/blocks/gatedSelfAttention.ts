/**
 * What lets pixels look at objects: self-attention of pixels and objects together, and a feed-forward network, each
 * beside a residual behind a learned gate. `GatedSelfAttentionDense` in diffusers.
 *
 * Li et al. 2023, "GLIGEN: Open-Set Grounded Text-to-Image Generation", equation 6, https://arxiv.org/abs/2301.07093
 */
import type { Tensor, Weight, WeightSource } from '../../engine/index.ts';
import type { Checkpoint } from '../../loading/index.ts';
import { dense } from '../layers.ts';
import { joinTokens } from '../transformers/tokens.ts';
import { WeightScope } from '../weightScope.ts';
import { feedForward } from './feedForward.ts';
import { affineLayerNorm } from './layerNorm.ts';
import { multiHeadAttention } from './multiHeadAttention.ts';

/** x [B,T,D], objects [B,N,E] → [B,T,D]. */
export function gatedSelfAttention(
  w: WeightScope,
  x: Tensor,
  objects: Tensor,
  { heads, headDim }: { heads: number; headDim: number },
): Tensor {
  const own = dense(w.at('linear'), objects, x.shape[2]); // [B,N,D]
  const normed = affineLayerNorm(w.at('norm1'), x); // [B,T,D]
  const both = joinTokens(normed, affineLayerNorm(w.at('norm1'), own)); // [B,T+N,D]
  const attn = new GatedScope(w.at('attn'), w.at('attn', 'to_out', 0).path, gateOf(w, 'alpha_attn'));
  // Objects ask nothing: their results would be dropped.
  x = multiHeadAttention(attn, normed, both, { heads, headDim, residual: x }); // [B,T,D]
  const n2 = affineLayerNorm(w.at('norm2'), x); // [B,T,D]
  const ff = new GatedScope(w.at('ff'), w.at('ff', 'net', 2).path, gateOf(w, 'alpha_dense'));
  return feedForward(ff, n2, { activation: 'geglu', residual: x }); // [B,T,D]
}

/** The key of a gate, a single number. */
const gateOf = (w: WeightScope, name: string): string => w.param(name, []).key;

const GATED = /^(.*)#([^#]+)$/;

/**
 * A part of a model, of which the weights of one layer are multiplied by tanh of a gate: no dispatch is spent on it.
 */
class GatedScope extends WeightScope {
  constructor(
    private readonly inner: WeightScope,
    /** Path of the layer. */
    private readonly layer: string,
    private readonly gate: string,
  ) {
    super(inner.path);
  }

  override at(...path: readonly (string | number)[]): WeightScope {
    return new GatedScope(this.inner.at(...path), this.layer, this.gate);
  }

  override param(name: string, shape: readonly number[]): Weight {
    const weight = this.inner.param(name, shape);
    return this.path === this.layer ? { ...weight, key: `${weight.key}#${this.gate}` } : weight;
  }
}

/** Whether a stored weight is behind a gate. */
export const isGated = (key: string): boolean => /\.fuser\.(attn\.to_out\.0|ff\.net\.2)\.[^.]+$/.test(key);

/** A checkpoint in which `KEY#GATE` is tanh(GATE)·KEY. */
export function gatedWeights(stored: Checkpoint): WeightSource {
  return {
    name: stored.name,
    keys: () => stored.keys(),
    info(key) {
      const [, own = key] = GATED.exec(key) ?? [];
      return stored.has(own) ? stored.info(own) : undefined;
    },
    async read(key, options = {}) {
      const [, own = key, gate] = GATED.exec(key) ?? [];
      const values = await stored.read(own, options);
      if (gate === undefined) return values;
      const factor = Math.tanh((await stored.read(gate, { signal: options.signal }))[0]);
      for (let i = 0; i < values.length; i++) values[i] *= factor;
      return values;
    },
  };
}
