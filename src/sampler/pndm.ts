/** Pseudo numerical methods. Liu et al. 2022, https://arxiv.org/abs/2202.09778 */
import type { NoiseLevel } from './schedule.ts';
import type { Solver } from './solver.ts';
import { LinearForm, type Vec } from './vec.ts';

/** Where alpha is 0, x is ε, and x₀ counts for nothing: anything above 0 keeps 0/0 away. */
const SMALLEST_ALPHA = 1e-8;

/** The paper's transfer part, x along a constant ε: DDIM's step. */
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

/**
 * One step of PLMS (algorithm 2; one evaluation, two in the first step, which is Heun's) or, where the transition has
 * two stages, of PRK (Runge–Kutta's; four evaluations). Its weights are those of steps even in sigma/alpha: there the
 * order is 4, with stages half-way in sigma/alpha; on any other smooth grid it is 2.
 */
export function pndm(): Solver {
  return async (step) => {
    const { x, from, to, stages = [], denoise, history, signal } = step;
    const { x0, eps } = await denoise(x, from, signal);
    const e1 = eps.materialise();
    const at = async (level: NoiseLevel, e: Vec | LinearForm): Promise<LinearForm> =>
      (await denoise(transfer(x, e, from, level).materialise(), level, signal)).eps;
    const remember = [e1, ...history].slice(0, 3);
    const done = (e: LinearForm) => ({ x: transfer(x, e, from, to).materialise(), x0, history: remember });
    if (stages.length === 2) {
      const e2 = (await at(stages[0], e1)).materialise();
      const e3 = (await at(stages[1], e2)).materialise();
      const e4 = await at(to, e3);
      return done(
        LinearForm.of(e1, 1 / 6)
          .plus(e2, 1 / 3)
          .plus(e3, 1 / 3)
          .plus(e4, 1 / 6),
      );
    }
    if (history.length > 0 || to.timestep < 0) return done(adamsBashforth([e1, ...history]));
    return done(LinearForm.of(e1, 1 / 2).plus(await at(to, e1), 1 / 2));
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
