/**
 * DPM-Solver and DPM-Solver++, multistep. Lu et al. 2022, https://arxiv.org/abs/2206.00927 and
 * https://arxiv.org/abs/2211.01095 (++: data prediction; SDE variants in its appendix).
 */
import { InvalidArgumentError } from '../engine/errors.ts';
import { dpmCoefficients, phiTerms, type DpmAlgorithm } from './dpmCoefficients.ts';
import { logSnr } from './sigmas.ts';
import type { Solver } from './solver.ts';
import { LinearForm } from './vec.ts';

/** The choices that the method leaves. */
export interface DpmSolverOptions {
  /** Default `dpmsolver++`. */
  algorithmType?: DpmAlgorithm;
  /** 1, 2 or 3; default 2. The SDE variants have no third. */
  solverOrder?: number;
  /** How the second order uses its difference; default `midpoint`. */
  solverType?: 'midpoint' | 'heun';
  /** Lower the order over the last steps of runs of fewer than 15; default true. */
  lowerOrderFinal?: boolean;
  /** The last step always of order 1; default false, but a step that ends without noise is. */
  eulerAtFinal?: boolean;
  /** Weigh the third order's second difference as published, which converges with order 2; default false. */
  publishedThirdOrder?: boolean;
}

/** Runs shorter than this are unstable at full order to the end. */
const SHORT = 15;

/**
 * One step of order 1 … 3 from the outputs (ε, or x₀ with ++) at this level and up to two before it; one evaluation.
 * 2022b, algorithm 2 (2M); its third order as in the authors' code.
 *
 * @throws ConfigError, InvalidArgumentError for options out of range
 */
export function dpmSolverMultistep(options: DpmSolverOptions = {}): Solver {
  const { algorithmType = 'dpmsolver++', solverOrder = 2, solverType = 'midpoint' } = options;
  const { lowerOrderFinal = true, eulerAtFinal = false, publishedThirdOrder = false } = options;
  if (![1, 2, 3].includes(solverOrder) || (solverOrder === 3 && algorithmType.startsWith('sde')))
    throw new InvalidArgumentError(
      `dpmSolver: expected solver_order 1, 2 or (without sde) 3, got ${solverOrder} with ${algorithmType}`,
    );
  return async ({ x, from, to, denoise, noise, history, index = 0, transitions = [], signal }) => {
    const prediction = await denoise(x, from, signal);
    const { x0 } = prediction;
    const m = (algorithmType.endsWith('++') ? x0 : prediction.eps).materialise();
    const left = transitions.length - index;
    const last = left === 1 && (eulerAtFinal || to.sigma === 0);
    const limit = last ? 1 : lowerOrderFinal && transitions.length < SHORT ? left : solverOrder;
    const order = Math.min(solverOrder, history.length + 1, limit);

    const { carry, step: s, weight, spread, h } = dpmCoefficients(algorithmType, from, to);
    const nodes = history.slice(0, order - 1).map((past, k) => {
      const lambda = logSnr(transitions[index - 1 - k].from);
      return { r: (lambda - logSnr(from)) / h, m: past };
    });
    const phi1 = Math.expm1(s);
    const phi2 = order === 2 && solverType === 'midpoint' ? phi1 / 2 : undefined;
    const phi3 = publishedThirdOrder ? (phi1 - s) / s ** 2 - 1 / 2 : undefined;
    const next = LinearForm.of(x, carry).minus(phiTerms(s, m, nodes, phi2, phi3), weight);
    const noisy = algorithmType.startsWith('sde') ? next.plus(noise(x), spread) : next;
    return { x: noisy.materialise(), x0, history: [m, ...history].slice(0, solverOrder - 1) };
  };
}
