/**
 * VQ-VAE with one level of codes, in the two layouts that are about: the parts of rosinality/vq-vae-2-pytorch, and the
 * `VQVAE` of AntixK/PyTorch-VAE.
 *
 * van den Oord, Vinyals, Kavukcuoglu 2017, "Neural Discrete Representation Learning", https://arxiv.org/abs/1711.00937
 */
import type { Graph, Tensor } from '../../engine/index.ts';
import { fromNchw, toNchw, unary } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { conv } from '../layers.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import type { WeightScope } from '../weightScope.ts';
import {
  doubled,
  lookUp,
  quantize,
  quantizeCodebook,
  vqDecoder,
  vqEncoder,
  type Codebook,
  type VqVaeWidths,
} from './vqVaeBlocks.ts';

/** One of the ways through: pixels for `encode` and `reconstruct`, cells for the others. */
export interface VqVaeCall {
  part: 'encode' | 'reconstruct' | 'decode' | 'decodeIds';
  batch: number;
  height: number;
  width: number;
}

/** What the layouts differ in. */
interface Layout {
  inChannels: number;
  embedDim: number;
  /** [B,H,W,C] → [B,h,w,D]. */
  encode(x: Tensor): Tensor;
  /** [B,h,w,D] → [B,H,W,C]. */
  decode(z: Tensor): Tensor;
  codebook: Codebook;
}

/**
 * `encode`: x → `preQuant`, `ids`, `quant`; `reconstruct`: those and `out`; `decode`: z → `out`; `decodeIds`:
 * ids → `out`.
 */
function recordVqVae(g: Graph, layout: Layout, { part, batch, height, width }: VqVaeCall): void {
  const { inChannels, embedDim, codebook } = layout;
  if (part === 'decode') {
    g.output('out', toNchw(layout.decode(fromNchw(g.input('z', [batch, embedDim, height, width])))));
    return;
  }
  if (part === 'decodeIds') {
    const ids = g.input('ids', [batch * height * width], { dtype: 'u32' });
    g.output('out', toNchw(layout.decode(lookUp(ids, codebook, [batch, height, width, embedDim]))));
    return;
  }
  const z = layout.encode(fromNchw(g.input('x', [batch, inChannels, height, width]))); // [B,h,w,D]
  const { ids, entries } = quantize(z, codebook); // [B,h,w], [B,h,w,D]
  g.output('preQuant', toNchw(z));
  g.output('ids', ids);
  g.output('quant', toNchw(entries));
  if (part === 'reconstruct') g.output('out', toNchw(layout.decode(entries)));
}

const probesAt = (downsampling: number): readonly VqVaeCall[] => [
  { part: 'reconstruct', batch: 1, height: downsampling, width: downsampling },
];

export interface VqVaeConfig extends VqVaeWidths {
  inChannels: number;
  embedDim: number;
  nEmbed: number;
}

/**
 * Weights `enc`, `quantize_conv`, `quantize`, `dec`. Inputs x [B,C,H,W], z [B,D,h,w], ids u32 [B·h·w]; outputs
 * `preQuant` and `quant` [B,D,h,w], `ids` u32 [B,h,w], `out` [B,C,H,W]; H = 4h.
 */
export const vqVae: ModelDefinition<VqVaeConfig, VqVaeCall> = {
  className: 'VQVAE1',
  // Running averages of training.
  ignorable: [/\.(cluster_size|embed_avg)$/],
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'VQVAE1');
    const config = readVqVaeFields(cfg);
    cfg.done();
    return config;
  },
  probes: () => probesAt(4),
  record: (g, w, c, call) =>
    recordVqVae(
      g,
      {
        inChannels: c.inChannels,
        embedDim: c.embedDim,
        encode: (x) => conv(w.at('quantize_conv'), vqEncoder(w.at('enc'), x, c, 4), c.embedDim, { kernel: 1 }),
        decode: (z) => vqDecoder(w.at('dec'), z, c.inChannels, c, 4),
        codebook: quantizeCodebook(w.at('quantize'), c.embedDim, c.nEmbed),
      },
      call,
    ),
};

/** The constructor's arguments that VQ-VAE and VQ-VAE-2 share. */
export function readVqVaeFields(cfg: ConfigReader): VqVaeConfig {
  cfg.ignored(['decay']);
  return {
    inChannels: cfg.int('in_channel', 3, { min: 1 }),
    channel: cfg.int('channel', 128, { min: 2 }),
    nResBlock: cfg.int('n_res_block', 2, { min: 0 }),
    nResChannel: cfg.int('n_res_channel', 32, { min: 1 }),
    embedDim: cfg.int('embed_dim', 64, { min: 1 }),
    nEmbed: cfg.int('n_embed', 512, { min: 1 }),
  };
}

export interface AntixkVqVaeConfig {
  inChannels: number;
  embeddingDim: number;
  numEmbeddings: number;
  hiddenDims: readonly number[];
}

/** Residual layers on either side. */
const LAYERS = 6;

/** 3×3, relu, 1×1, both without bias, and x again: x [B,H,W,C] → the same shape. */
function residualLayers(w: WeightScope, first: number, x: Tensor): Tensor {
  const C = x.shape[3];
  for (let i = 0; i < LAYERS; i++) {
    const at = w.at(first + i, 'resblock');
    const h = conv(at.at(0), x, C, { bias: false, act: 'relu' }); // [B,H,W,C]
    x = conv(at.at(2), h, C, { kernel: 1, bias: false, residual: x }); // [B,H,W,C]
  }
  return unary(x, { act: 'leaky_relu' }); // [B,H,W,C]
}

function antixkEncode(c: AntixkVqVaeConfig, w: WeightScope, x: Tensor): Tensor {
  const act = 'leaky_relu';
  c.hiddenDims.forEach((channels, i) => {
    x = conv(w.at(i, 0), x, channels, { kernel: 4, stride: 2, padding: 1, act }); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
  });
  const next = c.hiddenDims.length;
  x = residualLayers(w, next + 1, conv(w.at(next, 0), x, x.shape[3], { act })); // [B,h,w,C]
  return conv(w.at(next + LAYERS + 2, 0), x, c.embeddingDim, { kernel: 1, act }); // [B,h,w,D]
}

function antixkDecode(c: AntixkVqVaeConfig, w: WeightScope, z: Tensor): Tensor {
  const [deepest, ...rest] = [...c.hiddenDims].reverse();
  let x = residualLayers(w, 1, conv(w.at(0, 0), z, deepest, { act: 'leaky_relu' })); // [B,h,w,C]
  rest.forEach((channels, i) => {
    x = doubled(w.at(LAYERS + 2 + i, 0), x, channels, 'leaky_relu'); // [B,h·2ⁱ⁺¹,w·2ⁱ⁺¹,Cᵢ]
  });
  return doubled(w.at(LAYERS + 2 + rest.length, 0), x, 3, 'tanh'); // [B,H,W,3]
}

/** Weights `encoder`, `vq_layer`, `decoder`; inputs and outputs as {@link vqVae}, H = h · 2^levels. */
export const antixkVqVae: ModelDefinition<AntixkVqVaeConfig, VqVaeCall> = {
  className: 'VQVAE',
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'VQVAE');
    cfg.ignored(['beta', 'img_size']);
    const config = {
      inChannels: cfg.int('in_channels', 3, { min: 1 }),
      embeddingDim: cfg.int('embedding_dim', 64, { min: 1 }),
      numEmbeddings: cfg.int('num_embeddings', 512, { min: 1 }),
      hiddenDims: cfg.intArray('hidden_dims', [128, 256], { minLength: 1, min: 1 }),
    };
    cfg.done();
    return config;
  },
  probes: ({ hiddenDims }) => probesAt(2 ** hiddenDims.length),
  record: (g, w, c, call) =>
    recordVqVae(
      g,
      {
        inChannels: c.inChannels,
        embedDim: c.embeddingDim,
        encode: (x) => antixkEncode(c, w.at('encoder'), x),
        decode: (z) => antixkDecode(c, w.at('decoder'), z),
        codebook: {
          weight: w.at('vq_layer', 'embedding').param('weight', [c.numEmbeddings, c.embeddingDim]),
          columns: false,
        },
      },
      call,
    ),
};
