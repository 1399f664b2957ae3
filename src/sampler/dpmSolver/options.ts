/** The choices of DPM-Solver by its authors' names, and by those of this library. */
import { ConfigError } from '../../engine/errors.ts';

/** The choices of every DPM-Solver. */
export interface DpmSolverOptions {
  /** What is a polynomial over a step: ε (`dpmsolver`) or x₀ (`dpmsolver++`); default `dpmsolver++`. */
  algorithmType?: 'dpmsolver' | 'dpmsolver++';
  /** Weight of the slope where no curvature is known: φ₁/2 (`dpmsolver`) or φ₂ (`taylor`); default `dpmsolver`. */
  solverType?: 'dpmsolver' | 'taylor';
}

/** Both choices, made. @throws ConfigError on another word */
export function choices({ algorithmType = 'dpmsolver++', solverType = 'dpmsolver' }: DpmSolverOptions) {
  if (algorithmType !== 'dpmsolver' && algorithmType !== 'dpmsolver++')
    throw new ConfigError(
      `dpmSolver: expected dpmsolver or dpmsolver++, got ${String(algorithmType)}`,
      'algorithmType',
    );
  if (solverType !== 'dpmsolver' && solverType !== 'taylor')
    throw new ConfigError(`dpmSolver: expected dpmsolver or taylor, got ${String(solverType)}`, 'solverType');
  return { algorithmType, solverType: solverType === 'taylor' ? 'heun' : 'midpoint', secondStage: 'full' } as const;
}
