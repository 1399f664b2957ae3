/** UniPC, predictor and corrector of one form. Zhao et al. 2023, https://arxiv.org/abs/2302.04867 */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { dpmCoefficients, type Node } from './dpmCoefficients.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { logSnr } from '../schedule/sigmas.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** The choices that the method leaves. */
export interface UniPcOptions {
  /** ≥ 1; default 2. */
  solverOrder?: number;
  /** B(h): h itself, or e^h − 1; default `bh2`. */
  solverType?: 'bh1' | 'bh2';
  /** Integrate x₀ in place of ε; default true. */
  predictX0?: boolean;
  /** Lower the order towards the end; default true. */
  lowerOrderFinal?: boolean;
  /** Steps, from 0, whose result is not corrected; default none. */
  disableCorrector?: readonly number[];
}

/**
 * The step of both (algorithms 1 and 2): DPM-Solver's first order and B(h)·Σ ρₖ·(mₖ − m)/rₖ, with ρ such that
 * Σ ρₖ·rₖ^(i−1) = i!·φᵢ₊₁(s)/B. One node has ρ = ½, whose order is the same.
 */
function uniStep(
  x: Vec,
  m: Vec,
  nodes: readonly Node[],
  from: NoiseLevel,
  to: NoiseLevel,
  o: UniPcOptions,
): LinearForm {
  const { carry, step: s, weight } = dpmCoefficients(o.predictX0 === false ? 'dpmsolver' : 'dpmsolver++', from, to);
  const base = Math.expm1(s);
  const B = o.solverType === 'bh1' ? s : base;
  let [phi, factorial] = [base, 1];
  const moments = nodes.map((_, i) => {
    factorial *= i + 1;
    phi = phi / s - 1 / factorial;
    return (phi * factorial) / B;
  });
  const rhos =
    nodes.length === 1
      ? [1 / 2]
      : solveVandermonde(
          nodes.map(({ r }) => r),
          moments,
        );
  const terms = nodes.reduce(
    (sum, node, k) => sum.plus(node.m, (B * rhos[k]) / node.r).minus(m, (B * rhos[k]) / node.r),
    LinearForm.of(m, base),
  );
  return LinearForm.of(x, carry).minus(terms, weight);
}

/** ρ with Σ ρₖ·rₖ^i = moments[i], rₖ distinct; elimination. */
function solveVandermonde(r: readonly number[], moments: readonly number[]): number[] {
  const rows = moments.map((b, i) => [...r.map((node) => node ** i), b]);
  for (let i = 0; i < rows.length; i++)
    for (let j = 0; j < rows.length; j++) {
      if (i === j) continue;
      const f = rows[j][i] / rows[i][i];
      rows[j] = rows[j].map((v, k) => v - f * rows[i][k]);
    }
  return rows.map((row, i) => row[r.length] / row[i]);
}

/**
 * One step: with the output at this level the state is corrected (UniC), then the next is predicted (UniP). One
 * evaluation; order `solverOrder`, one more with the corrector.
 *
 * @throws InvalidArgumentError for an order out of range
 */
export function uniPc(options: UniPcOptions = {}): Solver {
  const { solverOrder = 2, lowerOrderFinal = true, disableCorrector = [], predictX0 = true } = options;
  if (!Number.isInteger(solverOrder) || solverOrder < 1)
    throw new InvalidArgumentError(`uniPc: expected solver_order to be an integer ≥ 1, got ${solverOrder}; 2 is usual`);
  return async ({ x, from, to, denoise, history, index = 0, transitions = [], signal }) => {
    const prediction = await denoise(x, from, signal);
    const m = (predictX0 ? prediction.x0 : prediction.eps).materialise();
    const [xBefore, ...past] = history;
    const orderAt = (i: number, known: number): number =>
      Math.min(solverOrder, known, lowerOrderFinal ? transitions.length - i : solverOrder);
    const nodesAt = (i: number, end: NoiseLevel, outputs: readonly Vec[]): Node[] => {
      const here = logSnr(transitions[i].from);
      const h = logSnr(end) - here;
      return outputs.map((o, k) => ({ r: (logSnr(transitions[i - 1 - k].from) - here) / h, m: o }));
    };
    let corrected = x;
    if (xBefore && !disableCorrector.includes(index - 1)) {
      const older = past.slice(1, orderAt(index - 1, past.length));
      const nodes = [...nodesAt(index - 1, from, older), { r: 1, m }];
      corrected = uniStep(xBefore, past[0], nodes, transitions[index - 1].from, from, options).materialise();
    }
    const older = past.slice(0, orderAt(index, past.length + 1) - 1);
    const next = uniStep(corrected, m, nodesAt(index, to, older), from, to, options);
    return {
      x: next.materialise(),
      x0: prediction.x0,
      history: [corrected, m, ...past].slice(0, solverOrder + 1),
    };
  };
}
