/**
 * The variational autoencoder in its first form: one hidden layer on either side.
 *
 * Kingma, Welling 2014, "Auto-Encoding Variational Bayes", appendix C, https://arxiv.org/abs/1312.6114
 */
import type { Graph, Tensor } from '../../engine/index.ts';
import { fromNchw } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { dense } from '../layers.ts';
import { denseRows } from '../textEncoders/denseRows.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import type { WeightScope } from '../weightScope.ts';

export interface MlpVaeConfig {
  inputSize: number;
  hiddenSize: number;
  latentSize: number;
}

/** One direction, for a batch. */
export interface MlpVaeCall {
  part: 'encode' | 'decode';
  batch: number;
}

/** x [B,D] → mean and log σ² of the posterior, [B,L] each. */
export function mlpVaeEncode(c: MlpVaeConfig, w: WeightScope, x: Tensor): { mean: Tensor; logVariance: Tensor } {
  const h = dense(w.at('fc1'), x, c.hiddenSize, { act: 'relu' }); // [B,hidden]
  return {
    mean: dense(w.at('fc_mu'), h, c.latentSize), // [B,L]
    logVariance: dense(w.at('fc_logvar'), h, c.latentSize), // [B,L]
  };
}

/** z [B,L] → probabilities of ones [B,D]. */
export function mlpVaeDecode(c: MlpVaeConfig, w: WeightScope, z: Tensor): Tensor {
  const h = dense(w.at('fc3'), z, c.hiddenSize, { act: 'relu' }); // [B,hidden]
  return dense(w.at('fc4'), h, c.inputSize, { act: 'sigmoid' }); // [B,D]
}

/**
 * Weights `fc1`, `fc_mu`, `fc_logvar`, `fc3`, `fc4`. `encode`: x [B,D] → `mean`, `logVariance` [B,L]; `decode`:
 * z [B,L] → `out` [B,D] in 0 … 1.
 */
export const mlpVae: ModelDefinition<MlpVaeConfig, MlpVaeCall> = {
  className: 'MlpVAE',
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'MlpVAE');
    const config = {
      inputSize: cfg.int('input_size', 784, { min: 1 }),
      hiddenSize: cfg.int('hidden_size', 400, { min: 1 }),
      latentSize: cfg.int('latent_size', 20, { min: 1 }),
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
      g.output('out', denseRows(mlpVaeDecode(config, w, fromNchw(g.input('z', [batch, config.latentSize])))));
      return;
    }
    const { mean, logVariance } = mlpVaeEncode(config, w, fromNchw(g.input('x', [batch, config.inputSize])));
    g.output('mean', denseRows(mean));
    g.output('logVariance', denseRows(logVariance));
  },
};
