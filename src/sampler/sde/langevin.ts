/** Langevin dynamics: steps along the score with noise, at one level of noise. Song & Ermon 2019; Song et al. 2021. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { runSolver, type RunOptions } from '../loop.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver, Transition } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** A move is a mean and the noise added to it. */
export interface Move {
  readonly mean: LinearForm;
  readonly noise: LinearForm;
}

/** x + size·∇ log p(x) and √(2·size)·z, with ∇ log p(x) = −ε/sigma. */
export function langevinMove(x: Vec, eps: Vec | LinearForm, z: Vec, sigma: number, size: number): Move {
  return { mean: LinearForm.of(x).minus(eps, size / sigma), noise: LinearForm.of(z, Math.sqrt(2 * size)) };
}

/**
 * The same with size = scale·(snr·‖z‖/‖∇ log p‖)², norms meaned over the batch and never waited for. Song et al. 2021,
 * appendix G, algorithms 4 and 5.
 */
export function langevinBySnr(x: Vec, eps: LinearForm, z: Vec, sigma: number, snr: number, scale: number): Move {
  const { space } = x;
  const terms = eps.nonZero();
  // Of c·v the norm of v will do, and nothing has to be computed for it.
  const [v, c] = terms.length === 1 && eps.bias === 0 ? terms[0] : ([eps.materialise(), 1] as const);
  const far = snr * (sigma / Math.abs(c)); // ‖∇ log p‖ = |c|·‖v‖/sigma
  const step = space.scaleByNorms(LinearForm.of(v, (scale * far ** 2 * c) / sigma), z, v, 2);
  const noise = space.scaleByNorms(LinearForm.of(z, Math.sqrt(2 * scale) * far), z, v, 1);
  return { mean: LinearForm.of(x).minus(step), noise: LinearForm.of(noise) };
}

/** The choices of {@link annealedLangevin}. */
export interface AnnealedLangevinOptions extends Omit<RunOptions, 'x' | 'solver' | 'transitions' | 'start'> {
  /** Noise levels, falling. */
  sigmas: readonly number[];
  /** Steps at each level, ≥ 1. */
  stepsEach: number;
  /** Step size at the last level, > 0. */
  stepSize: number;
  /** End with one step along the score without noise; default true. */
  denoise?: boolean;
  /** Told of the state after each step. */
  onMove?: (x: Vec) => void;
}

/**
 * Annealed Langevin dynamics: x + ε·∇ log p + √(2ε)·z with ε = stepSize·(sigma/sigma_last)². Song & Ermon 2020,
 * https://arxiv.org/abs/2006.09011, algorithm 1. @throws InvalidArgumentError on an option outside its range
 */
export async function annealedLangevin(x: Vec, options: AnnealedLangevinOptions): Promise<Vec> {
  const { sigmas, stepsEach, stepSize, denoise = true, onMove } = options;
  if (!(sigmas.length > 0 && sigmas.every((s) => s > 0) && stepsEach >= 1 && stepSize > 0))
    throw new InvalidArgumentError(
      `annealedLangevin: expected sigmas > 0, stepsEach ≥ 1, stepSize > 0, got ${sigmas.length} sigmas, ${stepsEach}, ` +
        `${stepSize}; see Song & Ermon 2020, section 3.3`,
    );
  const last = sigmas[sigmas.length - 1];
  const solver: Solver = async ({ x: at, from, to, denoise: ask, noise, signal }) => {
    const { x0, eps } = await ask(at, from, signal);
    const size = stepSize * (from.sigma / last) ** 2; // line 3
    const move = to.sigma === 0 ? undefined : langevinMove(at, eps, noise(at), from.sigma, size);
    const next = move ? move.mean.plus(move.noise) : LinearForm.of(at).minus(eps, last); // line 6; the last goes to x₀
    const there = next.materialise();
    onMove?.(there);
    return { x: there, x0 };
  };
  return runSolver({ ...options, x, solver, transitions: langevinTransitions(sigmas, stepsEach, denoise) });
}

/** Every level `stepsEach` times and, with `denoise`, from the last one to the picture. */
function langevinTransitions(sigmas: readonly number[], stepsEach: number, denoise: boolean): Transition[] {
  const level = (sigma: number): NoiseLevel => ({ timestep: sigma, alpha: 1, sigma });
  const levels = sigmas.flatMap((sigma) => Array<NoiseLevel>(stepsEach).fill(level(sigma)));
  const last = levels[levels.length - 1];
  const steps = levels.map((from, i): Transition => ({ from, to: levels[i + 1] ?? last }));
  return denoise ? [...steps, { from: last, to: { timestep: 0, alpha: 1, sigma: 0 } }] : steps;
}
