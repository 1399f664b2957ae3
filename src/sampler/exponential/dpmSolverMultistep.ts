/**
 * DPM-Solver and DPM-Solver++, multistep. Lu et al. 2022, https://arxiv.org/abs/2206.00927 and
 * https://arxiv.org/abs/2211.01095 (++: data prediction; SDE variants in its appendix).
 */
import { ConfigError, InvalidArgumentError } from '../../engine/errors.ts';
import { dpmCoefficients, phiTerms, type DpmAlgorithm } from './dpmCoefficients.ts';
import { checkAncestral } from '../solvers/noiseSplit.ts';
import { logSnr } from '../schedule/sigmas.ts';
import type { Solver } from '../solver.ts';
import { LinearForm } from '../vec.ts';

/** The choices that the method leaves. */
export interface DpmSolverOptions {
  /** Default `dpmsolver++`. */
  algorithmType?: DpmAlgorithm;
  /** 1, 2 or 3; default 2. The SDE variants by name have no third. */
  solverOrder?: number;
  /** How the second order uses its difference; default `midpoint`. */
  solverType?: 'midpoint' | 'heun';
  /** Lower the order over the last steps of short runs; default true. */
  lowerOrderFinal?: boolean;
  /** Runs of fewer steps are short; default 15, below which full order to the end is unstable. */
  shortRun?: number;
  /** The last step always of order 1; default false, but a step that ends without noise is. */
  eulerAtFinal?: boolean;
  /** Weigh the third order's second difference as published, which converges with order 2; default false. */
  publishedThirdOrder?: boolean;
  /** η ≥ 0 of `dpmsolver++`: 0 is deterministic, 1 is `sde-dpmsolver++`; default 0. */
  eta?: number;
  /** Factor on every draw, ≥ 0; default 1. */
  sNoise?: number;
  /** Draw at the step to sigma 0 too, which has no noise to add; default true, as in diffusers. */
  drawsAtEnd?: boolean;
}

function check({ solverOrder = 2, solverType, eta = 0, sNoise = 1 }: DpmSolverOptions) {
  if (![1, 2, 3].includes(solverOrder))
    throw new InvalidArgumentError(`dpmSolver: expected solver_order 1, 2 or 3, got ${solverOrder}`);
  if (solverType && solverType !== 'midpoint' && solverType !== 'heun')
    throw new ConfigError(`dpmSolver: expected midpoint or heun, got ${String(solverType)}`, 'solverType');
  checkAncestral('dpmSolver', { eta, sNoise });
}

/**
 * One step of order 1 … 3 from the outputs (ε, or x₀ with ++) at this level and up to two before it; one evaluation.
 * 2022b, algorithm 2 (2M); its third order as in the authors' code.
 *
 * @throws ConfigError, InvalidArgumentError for options out of range, and (on the step) at the third order of an SDE
 * variant
 */
export function dpmSolverMultistep(options: DpmSolverOptions = {}): Solver {
  check(options);
  const { algorithmType = 'dpmsolver++', solverOrder = 2, solverType = 'midpoint', shortRun = 15 } = options;
  const { lowerOrderFinal = true, eulerAtFinal = false, publishedThirdOrder = false, sNoise = 1 } = options;
  const eta = algorithmType === 'dpmsolver++' ? options.eta : undefined;
  const noisy = algorithmType.startsWith('sde') || !!eta;
  return async ({ x, from, to, denoise, noise, history, index = 0, transitions = [], signal }) => {
    const prediction = await denoise(x, from, signal);
    const { x0 } = prediction;
    const m = (algorithmType.endsWith('++') ? x0 : prediction.eps).materialise();
    const left = transitions.length - index;
    const last = left === 1 && (eulerAtFinal || to.sigma === 0);
    const limit = last ? 1 : lowerOrderFinal && transitions.length < shortRun ? left : solverOrder;
    const order = Math.min(solverOrder, history.length + 1, limit);
    if (order === 3 && algorithmType.startsWith('sde'))
      throw new InvalidArgumentError(`dpmSolver: expected solver_order 1 or 2 with ${algorithmType}, got 3; take 2`);

    const { carry, step: s, weight, spread, h } = dpmCoefficients(algorithmType, from, to, eta);
    const nodes = history.slice(0, order - 1).map((past, k) => {
      const lambda = logSnr(transitions[index - 1 - k].from);
      return { r: (lambda - logSnr(from)) / h, m: past };
    });
    const phi1 = Math.expm1(s);
    const phi2 = order === 2 && solverType === 'midpoint' ? phi1 / 2 : undefined;
    const phi3 = publishedThirdOrder ? (phi1 - s) / s ** 2 - 1 / 2 : undefined;
    const next = LinearForm.of(x, carry).minus(phiTerms(s, m, nodes, phi2, phi3), weight);
    const draws = noisy && (to.sigma > 0 || options.drawsAtEnd !== false);
    const there = draws ? next.plus(noise(x), spread * sNoise) : next;
    return { x: there.materialise(), x0, history: [m, ...history].slice(0, solverOrder - 1) };
  };
}
