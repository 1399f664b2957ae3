/**
 * The diffusion transformer: a vision transformer whose layer norms are driven by timestep and class.
 *
 * Peebles, Xie 2023, "Scalable Diffusion Models with Transformers", https://arxiv.org/abs/2212.09748
 */
import { formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { add, attention, embedding, fromNchw, layerNorm, mul, scaleShift, slice } from '../../kernels/index.ts';
import { addShared } from '../../kernels/addShared.ts';
import { unpatchify } from '../../kernels/unpatchify.ts';
import { feedForward } from '../blocks/feedForward.ts';
import { multiHeadAttention } from '../blocks/multiHeadAttention.ts';
import { dense, embeddingMlp } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';
import type { DiTConfig } from './ditConfig.ts';
import { activated, adaptiveNorm, gatedAdd, modulation, vector, type Modulation } from './modulation.ts';
import { joinItems, patchTokens, takeItems } from './tokens.ts';

/** What a diffusion transformer reads; all dense, as the public edge has them. */
export interface DiTInputs {
  /** [B,C,H,W]. */
  sample: Tensor;
  /** Sinusoidal features [B,256]. */
  timestep: Tensor;
  /** Class ids, u32 [B]. */
  classLabels: Tensor;
  /** [T,D], as addShared reads it. */
  positions: Tensor;
  /**
   * Two of [B/2,patch²·outChannels]: how far each half goes from the unconditional output; see {@link guidedHalves}.
   */
  guidance?: readonly Tensor[];
}

/** Intermediate results, under the names of the authors' modules. */
export type DiTTrace = (name: string, tensor: Tensor) => void;

/** sample [B,C,H,W] → dense f32 [B,outChannels,p·⌊H/p⌋,p·⌊W/p⌋]. @throws ShapeError before anything runs. */
export function dit(config: DiTConfig, w: WeightScope, inputs: DiTInputs, trace: DiTTrace = () => {}): Tensor {
  const { heads, headDim, patchSize, outChannels, layers } = config;
  const D = heads * headDim;
  const [, C, H, W] = inputs.sample.shape;
  const [rows, columns] = [Math.floor(H / patchSize), Math.floor(W / patchSize)];
  if (C !== config.inChannels || rows < 1 || columns < 1) {
    throw new ShapeError(
      `dit: expected sample [B,${config.inChannels},H,W] of at least ${patchSize}×${patchSize}, ` +
        `got ${formatShape(inputs.sample.shape)}`,
    );
  }
  const patches = patchTokens(w.at('pos_embed', 'proj'), fromNchw(inputs.sample), D, patchSize); // [B,T,D]
  trace('x_embedder', patches);
  if (config.layout === 'original') w.at('pos_embed').param('pos_embed', [1, trainedTokens(config), D]);
  let x = addShared(patches, inputs.positions); // [B,T,D]
  const time = fromNchw(inputs.timestep); // [B,256]

  const blocks = Array.from({ length: layers }, (_, i) => w.at('transformer_blocks', i));
  const first = condition(config, blocks[0].at('norm1', 'emb'), time, inputs.classLabels, trace); // [B,D]
  blocks.forEach((at, i) => {
    const own = !config.sharedEmbedding && i > 0;
    const c = own ? condition(config, at.at('norm1', 'emb'), time, inputs.classLabels) : first; // [B,D]
    x = ditBlock(config, at, x, c); // [B,T,D]
    trace(`block${i}`, x);
  });

  x = adaptiveNorm(x, modulation(w.at('proj_out_1'), first, D, 2), { shift: 0, scale: 1 }); // [B,T,D]
  x = dense(w.at('proj_out_2'), x, patchSize ** 2 * outChannels); // [B,T,p²·out]
  if (inputs.guidance) x = guidedHalves(x, inputs.guidance); // [B,T,p²·out]
  return unpatchify(x, { rows, columns, patch: patchSize }); // [B,out,H',W']
}

/** Tokens of the grid that the network was trained on. */
export function trainedTokens({ sampleSize, patchSize }: DiTConfig): number {
  return Math.floor(sampleSize / patchSize) ** 2;
}

/** Timestep and class as one vector [B,D], activated as every projection of it starts. */
function condition(config: DiTConfig, w: WeightScope, time: Tensor, labels: Tensor, trace: DiTTrace = () => {}) {
  const D = config.heads * config.headDim;
  const table = w.at('class_embedder', 'embedding_table').param('weight', [config.classRows, D]);
  const y = time.graph.scope(w.path, () => embedding(labels, table)); // [B,D]
  const t = embeddingMlp(w.at('timestep_embedder'), time, D); // [B,D]
  trace('y_emb', y);
  trace('t_emb', t);
  return activated(add(t, y)); // [B,D]
}

/** adaLN-Zero block. x [B,T,D], c [B,D] → [B,T,D]. Peebles & Xie 2023, figure 3. */
function ditBlock(config: DiTConfig, w: WeightScope, x: Tensor, c: Tensor): Tensor {
  const { heads, headDim, attentionBias: bias, mlpRatio: mult, activation } = config;
  const D = heads * headDim;
  const m = modulation(w.at('norm1', 'linear'), c, D, 6); // 6 × [B,D]
  const n = adaptiveNorm(x, m, { shift: 0, scale: 1 }); // [B,T,D]
  const attended =
    config.layout === 'original'
      ? fusedAttention(w.at('attn1'), n, heads)
      : multiHeadAttention(w.at('attn1'), n, undefined, { heads, headDim, bias }); // [B,T,D]
  x = gatedAdd(x, attended, m, 2); // [B,T,D]
  const n2 = secondNorm(config, w.at('norm3'), x, m); // [B,T,D]
  return gatedAdd(x, feedForward(w.at('ff'), n2, { activation, mult }), m, 5); // [B,T,D]
}

/** The second norm, which a config may give weights and another eps; x [B,T,D]. */
function secondNorm({ normAffine, normEps }: DiTConfig, w: WeightScope, x: Tensor, m: Modulation): Tensor {
  const at = { shift: 3, scale: 4 };
  if (!normAffine) return adaptiveNorm(x, m, at, normEps); // [B,T,D]
  const D = x.shape[2];
  const [weight, bias] = [w.param('weight', [D]), w.param('bias', [D])];
  const n = x.graph.scope(w.path, () => layerNorm(x, weight, bias, { eps: normEps })); // [B,T,D]
  return scaleShift(n, vector(m, at.scale), vector(m, at.shift)); // [B,T,D]
}

/** Self-attention with one projection, whose rows are q, k, v in turn; x [B,T,D] → [B,T,D]. */
function fusedAttention(w: WeightScope, x: Tensor, heads: number): Tensor {
  const D = x.shape[2];
  const qkv = dense(w.at('to_qkv'), x, 3 * D); // [B,T,3D]
  const a = x.graph.scope(w.path, () => {
    const [q, k, v] = [0, 1, 2].map((i) => slice(qkv, i * D, (i + 1) * D)); // [B,T,D]
    return attention(q, k, v, { heads }); // [B,T,D]
  });
  return dense(w.at('to_out', 0), a, D); // [B,T,D]
}

/**
 * Classifier-free guidance inside the network, as its authors' `forward_with_cfg` does it: of a batch whose first half
 * has the class and whose second has not, both halves become u + g·(c − u). Where g is the guidance scale, that is
 * guidance; where it is 1 in the first half and 0 in the second, each half stays what it was.
 * @param x [B,T,N]
 * @param factors g for either half, dense [B/2,N]
 */
function guidedHalves(x: Tensor, factors: readonly Tensor[]): Tensor {
  const half = x.shape[0] / 2;
  const c = takeItems(x, 0, half); // [B/2,T,N]
  const u = takeItems(x, half, 2 * half); // [B/2,T,N]
  const difference = add(c, u, { beta: -1 }); // [B/2,T,N]
  const [first, second] = factors.map((g) => add(mul(difference, fromNchw(g)), u)); // [B/2,T,N]
  return joinItems(first, second); // [B,T,N]
}
