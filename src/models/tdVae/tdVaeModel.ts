/** TD-VAE on a device: belief, jump and rollout as calls, and the loss of a jump on the host. */
import type { Graph, Tensor } from '../../engine/index.ts';
import { fromNchw, slice } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import { denseRows } from '../textEncoders/denseRows.ts';
import type { WeightScope } from '../weightScope.ts';
import {
  beliefs,
  jump,
  processObservations,
  rollout,
  stacked,
  type Gaussian,
  type State,
  type TdVaeConfig,
} from './tdVae.ts';

/** What is asked of the observations x [B,T,X]; times count from 0. */
export type TdVaeCall = { batch: number; steps: number } & (
  | { part: 'belief' }
  | { part: 'jump'; t1: number; t2: number }
  /** From the belief at time `from`, `length` steps on. */
  | { part: 'rollout'; from: number; length: number }
);

/** Draws that a call takes: [B,draws,Z], in the order of {@link tdVae}. */
export const tdVaeDraws = (call: TdVaeCall): number =>
  call.part === 'belief' ? 0 : call.part === 'jump' ? 4 : 2 * (call.length + 1);

/**
 * Inputs: `x` [B,T,X]; `start`, zeros [B,2·belief]; unless only beliefs are asked for `draws` [B,n,Z] of unit variance,
 * of each state the upper layer first: for a jump those at t₂, then at t₁.
 * Outputs: `belief` [B,T,H], `processed` [B,T,P]; of a jump for each of belief2, inferred1, belief1, transition2
 * `NAME.upper.mean`, `NAME.upper.logSigma`, `NAME.lower.…` [B,Z], the states `z1.upper`, `z1.lower`, `z2.…` [B,Z] and
 * `probabilities` [B,X] (see
 * {@link tdVaeLoss}); of a rollout `out` [B,length,X].
 */
export const tdVae: ModelDefinition<TdVaeConfig, TdVaeCall> = {
  className: 'TD_VAE',
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'TD_VAE');
    const config = {
      xSize: cfg.int('x_size', undefined, { min: 1 }),
      processedXSize: cfg.int('processed_x_size', undefined, { min: 1 }),
      beliefSize: cfg.int('b_size', undefined, { min: 1 }),
      zSize: cfg.int('z_size', undefined, { min: 1 }),
      blockHiddenSize: cfg.int('block_hidden_size', 50, { min: 1 }),
      decoderHiddenSize: cfg.int('decoder_hidden_size', 200, { min: 1 }),
    };
    cfg.done();
    return config;
  },
  probes: () => [
    { part: 'jump', batch: 1, steps: 2, t1: 0, t2: 1 },
    { part: 'rollout', batch: 1, steps: 1, from: 0, length: 1 },
  ],
  record(g: Graph, w: WeightScope, config, call) {
    const { batch: B, steps: T } = call;
    const processed = processObservations(config, w, g.input('x', [B, T, config.xSize])); // [B,T,P]
    const start = fromNchw(g.input('start', [B, 2 * config.beliefSize])); // [B,2H]
    const belief = beliefs(config, w, processed, start);
    g.output('processed', denseRows(processed));
    g.output('belief', stacked(belief)); // [B,T,H]
    if (call.part === 'belief') return;
    const Z = config.zSize;
    const draws = fromNchw(g.input('draws', [B, tdVaeDraws(call) * Z])); // [B,n·Z]
    const draw = (i: number) => slice(draws, i * Z, (i + 1) * Z); // [B,Z]
    const pair = (i: number): State => ({ upper: draw(2 * i), lower: draw(2 * i + 1) });
    if (call.part === 'rollout') {
      const noise = Array.from({ length: call.length + 1 }, (_, i) => pair(i));
      g.output('out', stacked(rollout(config, w, belief[call.from], noise))); // [B,length,X]
      return;
    }
    const at = { at1: belief[call.t1], at2: belief[call.t2] };
    const result = jump(config, w, at, { at2: pair(0), at1: pair(1) });
    const named = (name: string, t: Tensor) => g.output(name, denseRows(t));
    for (const [name, layers] of Object.entries(result.gaussians)) {
      for (const layer of ['upper', 'lower'] as const) {
        const { mean, logSigma }: Gaussian = layers[layer];
        named(`${name}.${layer}.mean`, mean);
        named(`${name}.${layer}.logSigma`, logSigma);
      }
    }
    for (const [name, state] of [
      ['z1', result.states.at1],
      ['z2', result.states.at2],
    ] as const) {
      named(`${name}.upper`, state.upper);
      named(`${name}.lower`, state.lower);
    }
    named('probabilities', result.probabilities);
  },
};

/**
 * The loss of a jump in nats, mean over the batch, from its outputs: two divergences at t₁ and one at t₂, each
 * estimated by the states drawn, and the cross-entropy of what was seen. Equation 8, with the constants of the
 * densities left out, which cancel.
 * @param out outputs of a jump by name, on the host
 * @param seen x at t₂, [B,X], 0 … 1
 */
export function tdVaeLoss(
  out: Readonly<Record<string, ArrayLike<number>>>,
  noise2: { upper: ArrayLike<number>; lower: ArrayLike<number> },
  seen: ArrayLike<number>,
  batch: number,
): number {
  let sum = 0;
  for (const layer of ['upper', 'lower'] as const) {
    const of = (name: string) => out[`${name}.${layer}`];
    const z1 = of('z1');
    const z2 = of('z2');
    for (let i = 0; i < z1.length; i++) {
      // log q(z1) - log p_B(z1), with the mean of log q's square left out as the authors' code does.
      sum += 0.5 * ((at(out, 'belief1', layer, 'mean', i) - z1[i]) / sigma(out, 'belief1', layer, i)) ** 2;
      sum += at(out, 'belief1', layer, 'logSigma', i) - at(out, 'inferred1', layer, 'logSigma', i);
      sum -= 0.5 * noise2[layer][i] ** 2 + at(out, 'belief2', layer, 'logSigma', i);
      sum += 0.5 * ((z2[i] - at(out, 'transition2', layer, 'mean', i)) / sigma(out, 'transition2', layer, i)) ** 2;
      sum += at(out, 'transition2', layer, 'logSigma', i);
    }
  }
  const p = out.probabilities;
  for (let i = 0; i < p.length; i++) sum -= seen[i] * Math.log(p[i]) + (1 - seen[i]) * Math.log(1 - p[i]);
  return sum / batch;
}

type Outputs = Readonly<Record<string, ArrayLike<number>>>;
type Layer = 'upper' | 'lower';

const at = (out: Outputs, name: string, layer: Layer, what: 'mean' | 'logSigma', i: number) =>
  out[`${name}.${layer}.${what}`][i];

const sigma = (out: Outputs, name: string, layer: Layer, i: number) => Math.exp(at(out, name, layer, 'logSigma', i));
