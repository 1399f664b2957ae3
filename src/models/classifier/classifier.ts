/**
 * The classifier of noisy pictures that guides ADM, with the gradient of its log probability by the picture.
 * Dhariwal, Nichol 2021, "Diffusion Models Beat GANs on Image Synthesis", https://arxiv.org/abs/2105.05233, section 4.
 */
import { formatShape, ShapeError, type Tensor } from '../../engine/index.ts';
import { add, fromNchw, toNchw, unary } from '../../kernels/index.ts';
import { logProbGrad } from '../../kernels/linearGrad.ts';
import { pixelMeanGrad } from '../../kernels/resampleGrad.ts';
import { channelsAt, headsOf, inputBlocks, type ClassifierConfig } from '../adm/admConfig.ts';
import { timeEmbedding } from '../adm/admUnet.ts';
import type { WeightScope } from '../weightScope.ts';
import { attentionLayer, convLayer, downsample, resBlock, type Layer } from './layers.ts';
import { adaptivePool, attentionPool, spatialPool } from './pools.ts';

/** Gradients by single pixels are small: stored in halves, they are carried this many times larger. */
const HALF_SCALE = 2 ** 10;

/** What the classifier reads; all dense, as the public edge has them. */
export interface ClassifierInputs {
  /** [B,C,H,W]. */
  sample: Tensor;
  /** Sinusoidal features of the timestep, cosines first, [B,modelChannels]. */
  timestep: Tensor;
  /** u32 [B]: the classes whose log probability is derived; without them there is no gradient. */
  classLabels?: Tensor;
}

/**
 * sample [B,C,H,W] → logits [B,N], and ∇ log p(class | sample) dense f32 [B,C,H,W]. @throws ShapeError,
 * InvalidArgumentError
 */
export function classifier(
  config: ClassifierConfig,
  w: WeightScope,
  { sample, timestep, classLabels }: ClassifierInputs,
): { logits: Tensor; gradient?: Tensor } {
  if (sample.shape.length !== 4 || sample.shape[1] !== config.inChannels) {
    throw new ShapeError(`classifier: expected sample [B,${config.inChannels},H,W], got ${formatShape(sample.shape)}`);
  }
  const features = fromNchw(timestep); // [B,modelChannels]
  const e = timeEmbedding(w.at('time_embed'), features, 4 * config.modelChannels); // [B,D]
  const layers = encoder(config, w, fromNchw(sample), unary(e, { act: 'silu' }));
  const { logits, back } = head(config, w.at('out'), layers);
  if (!classLabels) return { logits };
  const scale = sample.graph.dtype === 'f16' ? HALF_SCALE : 1;
  const seeds = back(logProbGrad(logits, classLabels, { scale }));
  let g: Tensor | undefined;
  for (let i = layers.length - 1; i >= 0; i--) {
    const seed = seeds[i];
    if (seed) g = joined(g, seed, layers[i].out);
    g = layers[i].back(g!);
  }
  return { logits, gradient: toNchw(g!, { scale: 1 / scale }) };
}

/** The blocks on the way down and in the middle, whose results the spatial pools look at. */
function encoder(config: ClassifierConfig, w: WeightScope, x: Tensor, emb: Tensor): Layer[] {
  const layers = [convLayer(w.at('input_blocks', 0, 0), x, channelsAt(config, 0))]; // [B,H,W,C0]
  const heads = (channels: number) => headsOf(config, channels, config.numHeads);
  inputBlocks(config).forEach(({ kind, out, attention }, i) => {
    const at = w.at('input_blocks', i + 1);
    const last = layers.at(-1)!.out;
    if (kind === 'down') {
      layers.push(downsample(at.at(0), last, emb, config)); // [B,H/2,W/2,C]
      return;
    }
    const block = resBlock(at.at(0), last, emb, config, { out }); // [B,H,W,out]
    layers.push(attention ? inTurn(block, attentionLayer(at.at(1), block.out, config, heads(out))) : block);
  });
  const middle = w.at('middle_block');
  const out = layers.at(-1)!.out.shape[3];
  const first = resBlock(middle.at(0), layers.at(-1)!.out, emb, config, { out }); // [B,H/2ⁿ,W/2ⁿ,C]
  const second = attentionLayer(middle.at(1), first.out, config, heads(out)); // [B,H/2ⁿ,W/2ⁿ,C]
  const third = resBlock(middle.at(2), second.out, emb, config, { out }); // [B,H/2ⁿ,W/2ⁿ,C]
  return [...layers, inTurn(first, inTurn(second, third))];
}

/** Logits, and what a gradient by them means for the result of each block. */
function head(
  config: ClassifierConfig,
  w: WeightScope,
  layers: readonly Layer[],
): { logits: Tensor; back(g: Tensor): readonly (Tensor | undefined)[] } {
  const maps = layers.map((layer) => layer.out);
  if (config.pool === 'spatial' || config.pool === 'spatial_v2') {
    const { out, back } = spatialPool(w, maps, config);
    return { logits: out, back };
  }
  const last = maps.at(-1)!;
  const side = Math.floor((config.imageSize ?? 0) / 2 ** (config.channelMult.length - 1));
  const pool =
    config.pool === 'adaptive' ? adaptivePool(w, last, config.outChannels) : attentionPool(w, last, config, side);
  return { logits: pool.out, back: (g) => maps.map((map) => (map === last ? pool.back(g) : undefined)) };
}

/** One layer and the next as one. */
const inTurn = (a: Layer, b: Layer): Layer => ({ out: b.out, back: (g) => a.back(b.back(g)) });

/** A gradient with what the head adds at a map [B,H,W,C]: one like the map, or one [B,C] by its mean. */
function joined(g: Tensor | undefined, seed: Tensor, { shape: [, height, width] }: Tensor): Tensor {
  if (seed.shape.length === 4) return g ? add(g, seed) : seed;
  return g ? add(g, seed, { beta: 1 / (height * width) }) : pixelMeanGrad(seed, { height, width });
}
