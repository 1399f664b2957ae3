/**
 * The k-sparse autoencoder: a linear code of which only the k largest units are kept, read back linearly.
 *
 * Makhzani, Frey 2013, "k-Sparse Autoencoders", https://arxiv.org/abs/1312.5663
 */
import type { Graph, Tensor, Weight } from '../../engine/index.ts';
import { fromNchw, reshape } from '../../kernels/index.ts';
import { conv2dTranspose } from '../../kernels/conv2dTranspose.ts';
import { keepTopK } from '../../kernels/keepTopK.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { dense } from '../layers.ts';
import { denseRows } from '../textEncoders/denseRows.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import type { WeightScope } from '../weightScope.ts';

export interface KSparseConfig {
  inputSize: number;
  codeSize: number;
  /** The encoder is the decoder's weight transposed, as in the paper; `enc.bias` is its own. */
  tied: boolean;
}

/** A batch, and how its code is thinned. */
export interface KSparseCall {
  batch: number;
  /** Units to keep, 1 … codeSize. */
  k: number;
  /** Which are the largest; the paper's are by value. */
  by: 'value' | 'magnitude';
  /** What is done to those that were kept. */
  act: 'none' | 'relu';
}

/** x [B,D] → the code before it is thinned, [B,H]. */
export function kSparseEncode(config: KSparseConfig, w: WeightScope, x: Tensor): Tensor {
  const { inputSize: D, codeSize: H } = config;
  if (!config.tied) return dense(w.at('enc'), x, H); // [B,H]
  const weight: Weight = { ...w.at('dec').param('weight', [D, H]), shape: [D, H, 1, 1] };
  // A transposed convolution of one pixel multiplies by the weight where a linear layer does by its transpose.
  const pixel = reshape(x, [x.shape[0], 1, 1, D]); // [B,1,1,D]
  return reshape(conv2dTranspose(pixel, weight, w.at('enc').param('bias', [H])), [x.shape[0], H]); // [B,H]
}

/**
 * Weights `enc` and `dec`. x [B,D] → `pre` [B,H], `code` [B,H] with k units that are not zero, `out` [B,D].
 * {@link kSparseSupport} tells which units they are.
 */
export const kSparse: ModelDefinition<KSparseConfig, KSparseCall> = {
  className: 'KSparseAutoencoder',
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'KSparseAutoencoder');
    const config = {
      inputSize: cfg.int('input_size', undefined, { min: 1 }),
      codeSize: cfg.int('code_size', undefined, { min: 1 }),
      tied: cfg.bool('tied', false),
    };
    cfg.done();
    return config;
  },
  probes: () => [{ batch: 1, k: 1, by: 'value', act: 'none' }],
  record(g: Graph, w, config, { batch, ...choice }) {
    const pre = kSparseEncode(config, w, fromNchw(g.input('x', [batch, config.inputSize]))); // [B,H]
    const code = keepTopK(pre, choice); // [B,H]
    g.output('pre', denseRows(pre));
    g.output('code', denseRows(code));
    g.output('out', denseRows(dense(w.at('dec'), code, config.inputSize))); // [B,D]
  },
};

/** Which k units of a row the op keeps, in rising order: the largest, of equal ones the first. */
export function kSparseSupport(row: ArrayLike<number>, k: number, by: 'value' | 'magnitude' = 'value'): number[] {
  const key = (i: number) => (by === 'magnitude' ? Math.abs(row[i]) : row[i]);
  const order = Array.from({ length: row.length }, (_, i) => i).sort((a, b) => key(b) - key(a) || a - b);
  return order.slice(0, k).sort((a, b) => a - b);
}
