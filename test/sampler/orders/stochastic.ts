/** Solvers that draw noise, how they are run over n steps, and the orders that theory gives them. */
import * as s from '../../../src/sampler/index.ts';
import type { NoiseLevel, Solver, Transition } from '../../../src/sampler/index.ts';
import { CLEAN, NOISY, veAt, vpAt } from './problem.ts';
import type { Plan } from './run.ts';

/** A stochastic method. */
export interface Stochastic {
  name: string;
  section: string;
  /** Order of the error of moments. */
  weak: number;
  /** Order of the distance of paths driven by one Brownian motion. */
  strong: number;
  /** Evaluations per step; default 1. */
  cost?: number;
  /** The method over n steps, n a multiple of 15. */
  plan: (n: number) => Plan;
  /** Parts of the step, 0 … 1, over which the driving motion of each draw runs; one draw over all of it by default. */
  draws?: readonly (readonly [number, number])[];
}

const { kdiffusion: k, sde } = s;

const grid = (n: number, at: (lambda: number) => NoiseLevel): NoiseLevel[] =>
  Array.from({ length: n + 1 }, (_, i) => at(NOISY + ((CLEAN - NOISY) * i) / n));
const pairs = (levels: readonly NoiseLevel[]): Transition[] =>
  levels.slice(1).map((to, i) => ({ from: levels[i], to }));

type Rest = Partial<Omit<Stochastic, 'name' | 'section' | 'weak' | 'plan'>>;

const on = (
  at: (lambda: number) => NoiseLevel,
  section: string,
  name: string,
  weak: number,
  make: (levels: readonly NoiseLevel[]) => Solver,
  rest: Rest = {},
): Stochastic => ({
  section,
  name,
  weak,
  strong: 1,
  plan(n) {
    const levels = grid(n, at);
    return { solver: make(levels), transitions: pairs(levels) };
  },
  ...rest,
});
const sigmas = (levels: readonly NoiseLevel[]): number[] => levels.map((l) => l.sigma);

/** A level between two in λ. */
const between = (a: NoiseLevel, b: NoiseLevel, f: number, at: (lambda: number) => NoiseLevel): NoiseLevel =>
  at(s.logSnr(a) + f * (s.logSnr(b) - s.logSnr(a)));

const withStage = (
  at: (lambda: number) => NoiseLevel,
  section: string,
  name: string,
  weak: number,
  solver: Solver,
  end: (from: NoiseLevel, to: NoiseLevel) => NoiseLevel,
  rest: Rest = {},
): Stochastic => ({
  section,
  name,
  weak,
  strong: 1,
  plan: (n) => ({
    solver,
    transitions: pairs(grid(n, at)).map(({ from, to }) => ({
      from,
      to,
      stages: [between(from, end(from, to), 1 / 2, at)],
    })),
  }),
  ...rest,
});

/** Where the deterministic part of an ancestral step at full η ends: sigma'²/sigma. */
const ancestralEnd = (from: NoiseLevel, to: NoiseLevel): NoiseLevel => ({ ...to, sigma: to.sigma ** 2 / from.sigma });

/** Fixed steps in the time of a process, from 1 to 1/16. */
const timed = (
  name: string,
  process: (steps: number) => s.sde.Sde,
  make: (sde: s.sde.Sde) => Solver,
  rest: Rest = {},
): Stochastic => ({
  section: 'Predictor–corrector',
  name,
  weak: 1,
  strong: 1,
  plan(n) {
    const steps = (n * 16) / 15;
    const of = process(Math.round(steps));
    const levels = Array.from({ length: n + 1 }, (_, i) => of.level(1 - i / steps));
    return { solver: make(of), transitions: pairs(levels) };
  },
  ...rest,
});
const ve = (steps: number): s.sde.Sde => sde.veSde(Math.exp(-CLEAN - 0.5), Math.exp(-NOISY), steps);
const vp = (steps: number): s.sde.Sde => sde.vpSde(0.1, 20, steps);
const subVp = (steps: number): s.sde.Sde => sde.subVpSde(0.1, 20, steps);
const predictor =
  (kind: 'euler_maruyama' | 'reverse_diffusion' | 'ancestral_sampling') =>
  (of: s.sde.Sde): Solver =>
    sde.predictorCorrector(of, { predictor: kind, corrector: 'none' });

const TWO: Rest = {
  cost: 2,
  draws: [
    [0, 1 / 2],
    [0, 1],
  ],
};
/** S_churn, small enough never to be cut off. */
const CHURN = 2;

/**
 * All of them, and the orders they should have. Their noise does not depend on the state, so that one normal per step
 * gives strong order 1 and no more. Moments: ancestral and churned steps are a flow, whose solver's order counts,
 * and noise, which is exact; multistep ones of order 2 and 3 have order 2, the latter held there by its first steps.
 */
export const STOCHASTIC: readonly Stochastic[] = [
  on(vpAt, 'DDPM', 'ddpm, fixed_small', 1, () => s.ddpm()),
  on(vpAt, 'DDPM', 'ddpm, fixed_large', 1, () => s.ddpm({ varianceType: 'fixed_large' })),
  on(vpAt, 'DDIM', 'ddim, η = 1', 1, () => s.ddim({ eta: 1 })),
  on(vpAt, 'DDIM', 'ddim, η = ½', 1, () => s.ddim({ eta: 0.5 })),
  on(veAt, 'Euler', 'eulerAncestral', 1, () => s.eulerAncestral()),
  on(veAt, 'Euler', 'kdiffusion.eulerAncestral', 1, () => k.eulerAncestral()),
  on(veAt, 'Euler', 'euler, S_churn = 2', 1, () => s.euler({ sChurn: CHURN })),
  on(veAt, 'Euler', 'kdiffusion.euler, S_churn = 2', 1, (l) =>
    k.euler({ sChurn: CHURN, numInferenceSteps: l.length - 1 }),
  ),
  on(
    veAt,
    'Heun',
    'kdiffusion.heun, S_churn = 2',
    2,
    (l) => k.heun({ sChurn: CHURN, numInferenceSteps: l.length - 1 }),
    { cost: 2 },
  ),
  on(veAt, 'Heun', 'karrasVe, S_churn = 2', 2, () => s.karrasVe({ sChurn: CHURN }), { cost: 2 }),
  withStage(veAt, 'KDPM2', 'kdpm2, ancestral', 2, s.kdpm2({ ancestral: true }), ancestralEnd, { cost: 2 }),
  on(veAt, 'KDPM2', 'kdiffusion.dpm2Ancestral', 2, () => k.dpm2Ancestral(), { cost: 2 }),
  on(veAt, 'DPM-Solver++ of k-diffusion', 'kdiffusion.dpmpp2sAncestral', 2, () => k.dpmpp2sAncestral(), { cost: 2 }),
  on(veAt, 'DPM-Solver++ of k-diffusion', 'kdiffusion.dpmppSde', 1, () => k.dpmppSde(), TWO),
  on(veAt, 'DPM-Solver++ of k-diffusion', 'kdiffusion.dpmpp2mSde, midpoint', 2, (l) => k.dpmpp2mSde(sigmas(l))),
  on(veAt, 'DPM-Solver++ of k-diffusion', 'kdiffusion.dpmpp2mSde, heun', 2, (l) =>
    k.dpmpp2mSde(sigmas(l), { solverType: 'heun' }),
  ),
  on(veAt, 'DPM-Solver++ of k-diffusion', 'kdiffusion.dpmpp3mSde', 2, (l) => k.dpmpp3mSde(sigmas(l))),
  ...(['sde-dpmsolver', 'sde-dpmsolver++'] as const).flatMap((algorithmType) => {
    const shown = algorithmType.endsWith('++') ? 'x₀' : 'ε';
    const section = 'DPM-Solver, multistep';
    const make = (solverOrder: number, solverType?: 'heun') => () =>
      s.dpmSolverMultistep({ algorithmType, solverOrder, solverType, lowerOrderFinal: false });
    return [
      on(vpAt, section, `dpmSolverMultistep 1, SDE, ${shown}`, 1, make(1)),
      on(vpAt, section, `dpmSolverMultistep 2 midpoint, SDE, ${shown}`, 2, make(2)),
      on(vpAt, section, `dpmSolverMultistep 2 heun, SDE, ${shown}`, 2, make(2, 'heun')),
      withStage(
        vpAt,
        'DPM-Solver, singlestep',
        `dpmSolverSinglestep 2, SDE, ${shown}`,
        1,
        s.dpmSolverSinglestep({ algorithmType }),
        (_, to) => to,
        TWO,
      ),
    ];
  }),
  timed('euler_maruyama, VE', ve, predictor('euler_maruyama')),
  timed('euler_maruyama, VP', vp, predictor('euler_maruyama')),
  timed('euler_maruyama, sub-VP', subVp, predictor('euler_maruyama')),
  timed('reverse_diffusion, VE', ve, predictor('reverse_diffusion')),
  timed('reverse_diffusion, VP', vp, predictor('reverse_diffusion')),
  timed('ancestral_sampling, VE', ve, predictor('ancestral_sampling')),
  timed('ancestral_sampling, VP', vp, predictor('ancestral_sampling')),
  timed('scoreVp', vp, () => s.scoreVp(({ timestep: t }) => (15 / 16) * (0.1 + 19.9 * t))),
  on(veAt, 'Predictor–corrector', 'scoreVe, no correction', 1, () => s.scoreVe({ correctSteps: 0 })),
];
