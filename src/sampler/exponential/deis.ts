/** DEIS, multistep in log ρ, ρ = sigma/alpha. Zhang & Chen 2023, https://arxiv.org/abs/2204.13902 */
import { dpmSolverMultistep, type DpmSolverOptions } from './dpmSolverMultistep.ts';
import type { Solver } from '../solver.ts';

/**
 * One step of order 1 … 3 (tAB-DEIS): ε as a polynomial in log ρ, integrated exactly against dρ. As
 * log ρ = −λ, that is DPM-Solver with noise prediction and every φ in full.
 *
 * @throws InvalidArgumentError for an order out of range
 */
export function deis({
  solverOrder,
  lowerOrderFinal,
}: Pick<DpmSolverOptions, 'solverOrder' | 'lowerOrderFinal'> = {}): Solver {
  return dpmSolverMultistep({ algorithmType: 'dpmsolver', solverType: 'heun', solverOrder, lowerOrderFinal });
}
