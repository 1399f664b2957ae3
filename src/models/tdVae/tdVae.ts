/**
 * Temporal difference VAE with a state of two layers: a belief from what was seen, jumps from one time to another, and
 * pictures of imagined states.
 *
 * Gregor et al. 2019, "Temporal Difference Variational Auto-Encoder", https://arxiv.org/abs/1806.03107
 * Weight names are those of xqding/TD-VAE.
 */
import type { Tensor } from '../../engine/index.ts';
import { concat, fromNchw, linear, mul, reshape, slice } from '../../kernels/index.ts';
import { lstmCell } from '../../kernels/lstmCell.ts';
import { reparameterise } from '../../kernels/reparameterise.ts';
import { dense } from '../layers.ts';
import { denseRows } from '../textEncoders/denseRows.ts';
import type { WeightScope } from '../weightScope.ts';

export interface TdVaeConfig {
  /** Elements of an observation. */
  xSize: number;
  processedXSize: number;
  /** Units of the LSTM. */
  beliefSize: number;
  /** Elements of each layer of the state. */
  zSize: number;
  /** Hidden units of the blocks that give a Gaussian, and of the decoder. */
  blockHiddenSize: number;
  decoderHiddenSize: number;
}

/** A Gaussian as a network gives it, [B,Z] each. */
export interface Gaussian {
  mean: Tensor;
  logSigma: Tensor;
}

/** A state: the upper layer is drawn first, the lower one given it. [B,Z] each. */
export interface State {
  lower: Tensor;
  upper: Tensor;
}

/** The D block: tanh times gate, then mean and log σ. input [B,N] → [B,Z] each. Appendix, "D map". */
export function dBlock(c: TdVaeConfig, w: WeightScope, input: Tensor): Gaussian {
  const value = dense(w.at('fc1'), input, c.blockHiddenSize, { act: 'tanh' }); // [B,hidden]
  const gate = dense(w.at('fc2'), input, c.blockHiddenSize, { act: 'sigmoid' }); // [B,hidden]
  const h = mul(value, gate); // [B,hidden]
  return { mean: dense(w.at('fc_mu'), h, c.zSize), logSigma: dense(w.at('fc_logsigma'), h, c.zSize) }; // [B,Z]
}

/** x dense [B,T,X] → what the LSTM reads, [B,T,P]. */
export function processObservations(c: TdVaeConfig, w: WeightScope, x: Tensor): Tensor {
  const [B, T, X] = x.shape;
  const rows = fromNchw(reshape(x, [B * T, X])); // [B·T,X]
  const h = dense(w.at('process_x', 'fc1'), rows, c.processedXSize, { act: 'relu' }); // [B·T,P]
  const out = dense(w.at('process_x', 'fc2'), h, c.processedXSize, { act: 'relu' }); // [B·T,P]
  return reshape(out, [B, T, c.processedXSize]); // [B,T,P]
}

/** The belief after each observation. processed [B,T,P], start zeros [B,2H] → T tensors [B,H]. Equation 4. */
export function beliefs(c: TdVaeConfig, w: WeightScope, processed: Tensor, start: Tensor): Tensor[] {
  const [B, T, P] = processed.shape;
  const H = c.beliefSize;
  const lstm = w.at('lstm');
  const param = (name: string, shape: readonly number[]) => lstm.param(`${name}_l0`, shape);
  const all = reshape(processed, [B, T * P]); // [B,T·P]
  let state = start; // [B,2H]
  return Array.from({ length: T }, (_, t) => {
    const x = slice(all, t * P, (t + 1) * P); // [B,P]
    const fromX = linear(x, param('weight_ih', [4 * H, P]), param('bias_ih', [4 * H])); // [B,4H]
    const h = slice(state, 0, H); // [B,H]
    const gates = linear(h, param('weight_hh', [4 * H, H]), param('bias_hh', [4 * H]), { residual: fromX }); // [B,4H]
    state = lstmCell(gates, state); // [B,2H]
    return slice(state, 0, H); // [B,H]
  });
}

/** Both layers side by side, the lower first: [B,2Z]. */
export const joined = ({ lower, upper }: State) => concat(lower, upper);

/**
 * A state drawn layer by layer through the blocks `l2_KIND_z` and `l1_KIND_z`, given `from` [B,N]; noise [B,Z] each.
 */
export function drawState(
  c: TdVaeConfig,
  w: WeightScope,
  kind: 'b_to' | 'infer' | 'transition',
  from: Tensor,
  noise: State,
): { state: State; upper: Gaussian; lower: Gaussian } {
  const upper = dBlock(c, w.at(`l2_${kind}_z`), from); // [B,Z]
  const z2 = reparameterise(upper.mean, upper, noise.upper); // [B,Z]
  const lower = dBlock(c, w.at(`l1_${kind}_z`), concat(from, z2)); // [B,Z]
  const z1 = reparameterise(lower.mean, lower, noise.lower); // [B,Z]
  return { state: { lower: z1, upper: z2 }, upper, lower };
}

/** A state [B,2Z] → the probability that each element is one, [B,X]. */
export function observe(c: TdVaeConfig, w: WeightScope, z: Tensor): Tensor {
  const at = w.at('z_to_x');
  const h = dense(at.at('fc1'), z, c.decoderHiddenSize, { act: 'tanh' }); // [B,hidden]
  const k = dense(at.at('fc2'), h, c.decoderHiddenSize, { act: 'tanh' }); // [B,hidden]
  return dense(at.at('fc3'), k, c.xSize, { act: 'sigmoid' }); // [B,X]
}

/**
 * States after the last belief, one transition after the other, and what would be seen. belief [B,H], noise one pair
 * for the first state and one per step → steps tensors [B,X]. Section 4.4.
 */
export function rollout(c: TdVaeConfig, w: WeightScope, belief: Tensor, noise: readonly State[]): Tensor[] {
  const [first, ...steps] = noise;
  let state = drawState(c, w, 'b_to', belief, first).state;
  return steps.map((draw) => {
    state = drawState(c, w, 'transition', joined(state), draw).state;
    return observe(c, w, joined(state)); // [B,X]
  });
}

/** Every Gaussian that the loss of one jump compares, and the states it draws on the way. */
export interface Jump {
  /** At t₂ from its belief, at t₁ inferred from t₂, at t₁ from its belief, at t₂ by transition from t₁. */
  gaussians: Record<'belief2' | 'inferred1' | 'belief1' | 'transition2', { upper: Gaussian; lower: Gaussian }>;
  states: { at1: State; at2: State };
  /** [B,X]. */
  probabilities: Tensor;
}

/** The jump from t₁ to t₂: beliefs [B,H] at both, noise for the states at t₂ and t₁. Equations 6 and 8. */
export function jump(
  c: TdVaeConfig,
  w: WeightScope,
  belief: { at1: Tensor; at2: Tensor },
  noise: { at1: State; at2: State },
): Jump {
  const now = drawState(c, w, 'b_to', belief.at2, noise.at2);
  const z2 = joined(now.state); // [B,2Z]
  const past = drawState(c, w, 'infer', concat(belief.at1, z2), noise.at1);
  const z1 = joined(past.state); // [B,2Z]
  return {
    gaussians: {
      belief2: now,
      inferred1: past,
      belief1: {
        upper: dBlock(c, w.at('l2_b_to_z'), belief.at1),
        lower: dBlock(c, w.at('l1_b_to_z'), concat(belief.at1, past.state.upper)),
      },
      transition2: {
        upper: dBlock(c, w.at('l2_transition_z'), z1),
        lower: dBlock(c, w.at('l1_transition_z'), concat(z1, now.state.upper)),
      },
    },
    states: { at1: past.state, at2: now.state },
    probabilities: observe(c, w, z2),
  };
}

/** T tensors [B,D] one after the other: dense [B,T,D]. */
export function stacked(parts: readonly Tensor[]): Tensor {
  const [B, D] = parts[0].shape;
  const flat = denseRows(parts.reduce((a, b) => concat(a, b))); // dense [B,T·D]
  return reshape(flat, [B, parts.length, D]);
}
