/** Pseudo numerical methods. Liu et al. 2022, https://arxiv.org/abs/2202.09778 */
import type { Prediction } from '../parameterisation/denoiser.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import type { Solver } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** Where alpha is 0, x is ε, and x₀ counts for nothing: anything above 0 keeps 0/0 away. */
const SMALLEST_ALPHA = 1e-8;

/** The paper's transfer part, x along a constant ε: DDIM's step. Equation 9. */
export function transfer(x: Vec, eps: Vec | LinearForm, from: NoiseLevel, to: NoiseLevel): LinearForm {
  const x0 = LinearForm.of(x).minus(eps, from.sigma);
  return x0.scale(to.alpha / Math.max(from.alpha, SMALLEST_ALPHA)).plus(eps, to.sigma);
}

/** Adams–Bashforth on even steps, newest first; as many as there are, up to four: the gradient part of PLMS. */
const ADAMS_BASHFORTH = [[1], [3, -1], [23, -16, 5], [55, -59, 37, -9]].map((row) => {
  const total = row.reduce((a, b) => a + b);
  return row.map((c) => c / total);
});

/** The mean slope over the next step from up to four slopes, newest first. */
export function adamsBashforth([newest, ...older]: readonly [Vec | LinearForm, ...Vec[]]): LinearForm {
  const weights = ADAMS_BASHFORTH[Math.min(older.length, 3)];
  return older
    .slice(0, 3)
    .reduce((sum, slope, k) => sum.plus(slope, weights[k + 1]), LinearForm.of(newest, weights[0]));
}

/** The choice of {@link pndm}. */
export interface PndmOptions {
  /**
   * What is averaged over levels: ε, or the network's output, read as ε at the start of the step. They differ for a
   * network that outputs v, where diffusers averages outputs. Default `eps`.
   */
  averages?: 'eps' | 'output';
}

/**
 * One step of PLMS (algorithm 2; one evaluation, two in the first step, which is Heun's) or, where the transition has
 * three stages, of PRK (Runge–Kutta's; four evaluations). Its weights are those of steps even in sigma/alpha: there the
 * order is 4, with stages half-way in sigma/alpha; on any other smooth grid it is 2.
 *
 * Heun's step may have two stages: where the network is asked again, and the level from which the step then counts.
 */
export function pndm({ averages = 'eps' }: PndmOptions = {}): Solver {
  const outputs = averages === 'output';
  return async (step) => {
    const { x, from, to, stages = [], denoise, history, signal } = step;
    const first = await denoise(x, from, signal);
    const { x0 } = first;
    const kept = ({ out, eps }: Prediction): Vec => (outputs ? out : eps).materialise();
    const v1 = kept(first);
    const there = (v: Vec | LinearForm, level: NoiseLevel, start = from): LinearForm =>
      transfer(x, outputs ? first.reread(LinearForm.of(v), x, start).eps : v, start, level);
    const at = async (level: NoiseLevel, v: Vec): Promise<Vec> =>
      kept(await denoise(there(v, level).materialise(), level, signal));
    const remember = [v1, ...history].slice(0, 3);
    const done = (v: LinearForm, start?: NoiseLevel) => ({
      x: there(v, to, start).materialise(),
      x0,
      history: remember,
    });
    if (stages.length === 3) {
      const v2 = await at(stages[0], v1);
      const v3 = await at(stages[1], v2);
      const v4 = await at(stages[2], v3);
      return done(
        LinearForm.of(v1, 1 / 6)
          .plus(v2, 1 / 3)
          .plus(v3, 1 / 3)
          .plus(v4, 1 / 6),
      );
    }
    if (history.length > 0 || to.timestep < 0) return done(adamsBashforth([v1, ...history]));
    const [end = to, start = from] = stages;
    return done(LinearForm.of(v1, 1 / 2).plus(await at(end, v1), 1 / 2), start);
  };
}

/** One step of PLMS that starts with order 1 and grows to 4; one evaluation each. Crowson, v-diffusion (iPNDM). */
export function ipndm(): Solver {
  return async ({ x, from, to, denoise, history, signal }) => {
    const { x0, eps } = await denoise(x, from, signal);
    const e = eps.materialise();
    const slope = history.length > 0 ? adamsBashforth([e, ...history]) : eps;
    return { x: transfer(x, slope, from, to).materialise(), x0, history: [e, ...history].slice(0, 3) };
  };
}
