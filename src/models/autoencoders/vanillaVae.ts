/**
 * A convolutional VAE with batch norm, as the collection AntixK/PyTorch-VAE has it; the β-VAE there is the same
 * network.
 *
 * Kingma, Welling 2014, "Auto-Encoding Variational Bayes", https://arxiv.org/abs/1312.6114
 * Higgins et al. 2017, "beta-VAE", https://openreview.net/forum?id=Sy2fzU9gl
 */
import { ShapeError, formatShape, type Graph, type Tensor, type Weight } from '../../engine/index.ts';
import { conv2d, fromNchw, reshape, toNchw } from '../../kernels/index.ts';
import { batchNorm } from '../../kernels/batchNorm.ts';
import { conv2dTranspose } from '../../kernels/conv2dTranspose.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { conv, dense } from '../layers.ts';
import { denseRows } from '../textEncoders/denseRows.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import type { WeightScope } from '../weightScope.ts';

export interface VanillaVaeConfig {
  inChannels: number;
  latentDim: number;
  /** Channels of the levels, each half as wide and high as the one before; the last one is 2×2. */
  hiddenDims: readonly number[];
}

/** One direction, for a batch. */
export interface VanillaVaeCall {
  part: 'encode' | 'decode';
  batch: number;
}

/** Side of the last level, which the linear layers flatten. */
const SIDE = 2;

/** Pixels along each side of a picture. */
export const vanillaVaeSize = (c: VanillaVaeConfig) => SIDE * 2 ** c.hiddenDims.length;

/**
 * image [B,H,W,C] → mean and log σ² of the posterior, [B,L] each.
 * @throws ShapeError for pictures of another size than it was trained for.
 */
export function vanillaVaeEncode(
  c: VanillaVaeConfig,
  w: WeightScope,
  image: Tensor,
): { mean: Tensor; logVariance: Tensor } {
  let x = image;
  c.hiddenDims.forEach((channels, i) => {
    const at = w.at('encoder', i);
    x = normed(at.at(1), conv(at.at(0), x, channels, { stride: 2 })); // [B,H/2ⁱ⁺¹,W/2ⁱ⁺¹,Cᵢ]
  });
  if (x.shape[1] !== SIDE || x.shape[2] !== SIDE) {
    const side = vanillaVaeSize(c);
    throw new ShapeError(`VanillaVAE: expected pictures of ${side}×${side}, got ${formatShape(image.shape)}`);
  }
  return { mean: flattened(w.at('fc_mu'), x, c.latentDim), logVariance: flattened(w.at('fc_var'), x, c.latentDim) };
}

/** z [B,L] → image [B,H,W,C] in −1 … 1. */
export function vanillaVaeDecode(c: VanillaVaeConfig, w: WeightScope, z: Tensor): Tensor {
  const [deepest, ...rest] = [...c.hiddenDims].reverse();
  const B = z.shape[0];
  const flat = denseRows(dense(w.at('decoder_input'), z, deepest * SIDE * SIDE)); // dense [B,C·2·2]
  let x = fromNchw(reshape(flat, [B, deepest, SIDE, SIDE])); // [B,2,2,C]
  rest.forEach((channels, i) => {
    const at = w.at('decoder', i);
    x = normed(at.at(1), enlarged(at.at(0), x, channels)); // [B,2ⁱ⁺²,2ⁱ⁺²,Cᵢ]
  });
  const last = w.at('final_layer');
  x = normed(last.at(1), enlarged(last.at(0), x, x.shape[3])); // [B,H,W,C₀]
  return conv(last.at(3), x, 3, { act: 'tanh' }); // [B,H,W,3]
}

/** `nn.Linear` over a map that PyTorch flattened as C·H·W: a convolution as large as the map. x [B,H,W,C] → [B,out]. */
function flattened(w: WeightScope, x: Tensor, out: number): Tensor {
  const [B, H, W, C] = x.shape;
  const weight: Weight = { ...w.param('weight', [out, C * H * W]), shape: [out, C, H, W] };
  const y = x.graph.scope(w.path, () => conv2d(x, weight, w.param('bias', [out]))); // [B,1,1,out]
  return reshape(y, [B, out]); // [B,out]
}

/** x [B,H,W,C] → [B,2H,2W,out]. */
function enlarged(w: WeightScope, x: Tensor, out: number): Tensor {
  const weight = w.param('weight', [x.shape[3], out, 3, 3]);
  const bias = w.param('bias', [out]);
  const options = { stride: 2, padding: 1, outputPadding: 1 };
  return x.graph.scope(w.path, () => conv2dTranspose(x, weight, bias, options));
}

/** Batch norm with a leaky ReLU behind it. x [B,H,W,C] → the same shape. */
function normed(w: WeightScope, x: Tensor): Tensor {
  const C = [x.shape[3]];
  const weights = {
    weight: w.param('weight', C),
    bias: w.param('bias', C),
    mean: w.param('running_mean', C),
    variance: w.param('running_var', C),
  };
  return x.graph.scope(w.path, () => batchNorm(x, weights, { act: 'leaky_relu' }));
}

/**
 * `encode`: x [B,C,H,W] in −1 … 1 → `mean`, `logVariance` [B,L]; `decode`: z [B,L] → `out` [B,3,H,W].
 */
export const vanillaVae: ModelDefinition<VanillaVaeConfig, VanillaVaeCall> = {
  className: 'VanillaVAE',
  alsoReads: ['BetaVAE'],
  ignorable: [/\.num_batches_tracked$/],
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'VanillaVAE');
    const config = {
      inChannels: cfg.int('in_channels', 3, { min: 1 }),
      latentDim: cfg.int('latent_dim', 128, { min: 1 }),
      hiddenDims: cfg.intArray('hidden_dims', [32, 64, 128, 256, 512], { minLength: 1, min: 1 }),
    };
    cfg.done();
    return config;
  },
  probes: () => [
    { part: 'encode', batch: 1 },
    { part: 'decode', batch: 1 },
  ],
  record(g: Graph, w, config, { part, batch }) {
    if (part === 'decode') {
      g.output('out', toNchw(vanillaVaeDecode(config, w, fromNchw(g.input('z', [batch, config.latentDim])))));
      return;
    }
    const side = vanillaVaeSize(config);
    const x = fromNchw(g.input('x', [batch, config.inChannels, side, side]));
    const { mean, logVariance } = vanillaVaeEncode(config, w, x);
    g.output('mean', denseRows(mean));
    g.output('logVariance', denseRows(logVariance));
  },
};
