/** The solvers that have names of their own, and those of original code. */
import { ddpm } from '../../../src/sampler/solvers/ddpm.ts';
import { respacedSchedule, respacedTimesteps } from '../../../src/sampler/iddpm/respacing.ts';
import { rhoMidpoint, stochasticIterative } from '../../../src/sampler/consistency/consistencySamplers.ts';
import * as s from '../../../src/sampler/index.ts';
import type { Denoiser, Network } from '../../../src/sampler/index.ts';
import { BATCH, noise, over, SIZE, STEPS, type SolverCase } from './case.ts';

const { kdiffusion: k, dpmSolver: dpm, sde, analytic, edm } = s;
const range = { sigmaMin: 0.1, sigmaMax: 10 };
const sigmas = k.karrasSigmas(STEPS, range);
const preconditioned = (network: Network): Denoiser => s.parameterise(network, s.edmPreconditioning());
/** The same network for both halves, the one without the condition shifted. */
const guidedPair =
  (guidanceRescale = 0) =>
  (network: Network): Denoiser =>
    s.guided(
      s.parameterisePair(async (x, t, signal) => {
        const [u, c] = [await network(x, t + 40, signal), await network(x, t, signal)];
        return [u, c];
      }, s.edmPreconditioning()),
      3,
      { guidanceRescale },
    );

const onSigmas = (name: string, solver: () => s.Solver, denoise = preconditioned): SolverCase =>
  over(`kdiffusion.${name}`, () => ({ solver: solver(), transitions: k.veTransitions(sigmas) }), denoise, 10);

const fast = k.dpmFastPlan(8, range);
const onFast = (name: string, eta: number): SolverCase => ({
  ...over(
    name,
    () => ({ solver: k.dpmFast(fast, { eta }), transitions: k.veTransitions(fast.sigmas) }),
    preconditioned,
  ),
});
const adaptiveSigma = (name: string, options: Partial<s.kdiffusion.DpmAdaptiveOptions>): SolverCase => ({
  name: `kdiffusion.dpmAdaptive${name}`,
  adaptive: true,
  run: (space, network, extras) =>
    k.dpmAdaptive({ ...range, ...options, ...extras, x: noise(space, 10), denoiser: preconditioned(network) }),
});

const kdiffusion: SolverCase[] = [
  onSigmas('euler', () => k.euler()),
  onSigmas('euler, churn', () => k.euler({ sChurn: 3 })),
  onSigmas('eulerAncestral', () => k.eulerAncestral()),
  onSigmas('heun', () => k.heun()),
  onSigmas('heun, churn', () => k.heun({ sChurn: 3 })),
  onSigmas('dpm2', () => k.dpm2()),
  onSigmas('dpm2Ancestral', () => k.dpm2Ancestral()),
  onSigmas('dpmpp2sAncestral', () => k.dpmpp2sAncestral()),
  onSigmas('dpmppSde', () => k.dpmppSde()),
  onSigmas('dpmpp2m', () => k.dpmpp2m(sigmas)),
  onSigmas('dpmpp2mSde', () => k.dpmpp2mSde(sigmas)),
  onSigmas('dpmpp3mSde', () => k.dpmpp3mSde(sigmas)),
  onSigmas('dpmpp3mSde, guided', () => k.dpmpp3mSde(sigmas), guidedPair()),
  onSigmas('lms', () => k.lms(sigmas)),
  onSigmas('lms of order 6, guided', () => k.lms(sigmas, { order: 6 }), guidedPair()),
  onFast('kdiffusion.dpmFast', 0),
  onFast('kdiffusion.dpmFast, η = 1', 1),
  adaptiveSigma('', {}),
  adaptiveSigma(', order 2, PID', { order: 2, pCoeff: 0.2, dCoeff: 0.1 }),
  adaptiveSigma(', η = 1', { eta: 1 }),
];

const schedule = dpm.linearVp();
const levels = dpm.spacedLevels(schedule, STEPS, { skipType: 'logSNR' });
const epsilon = (network: Network): Denoiser => s.parameterise(network, 'epsilon');
const authors = (['dpmsolver', 'dpmsolver++'] as const).flatMap((algorithmType): SolverCase[] => [
  ...([1, 2, 3] as const).flatMap((order) => {
    const steps = dpm.fastSteps(schedule, STEPS, order, { skipType: 'logSNR' });
    const transitions = dpm.stagedTransitions(steps);
    return [
      over(
        `dpmSolver.dpmSolverMultistep ${algorithmType} ${order}`,
        () => ({
          solver: dpm.dpmSolverMultistep(levels, { algorithmType, order }),
          transitions: dpm.transitionsOf(levels),
        }),
        epsilon,
      ),
      over(
        `dpmSolver.dpmSolverSinglestep ${algorithmType} ${order}`,
        () => ({ solver: dpm.dpmSolverSinglestep(steps, { algorithmType, solverType: 'taylor' }), transitions }),
        epsilon,
      ),
    ];
  }),
  {
    name: `dpmSolver.dpmSolverAdaptive ${algorithmType}`,
    adaptive: true,
    run: (space, network, extras) =>
      dpm.dpmSolverAdaptive({ ...extras, schedule, algorithmType, x: noise(space), denoiser: epsilon(network) }),
  },
]);

const processes = {
  VE: sde.veSde(0.05, 10, STEPS),
  VP: sde.vpSde(0.1, 4, STEPS),
  'sub-VP': sde.subVpSde(0.1, 4, STEPS),
};
const pairsOf = [
  ['reverse_diffusion', 'langevin'],
  ['euler_maruyama', 'ald'],
  ['ancestral_sampling', 'none'],
  ['none', 'langevin'],
] as const;
const scores = Object.entries(processes).flatMap(([kind, process]): SolverCase[] => [
  ...pairsOf
    .filter(([predictor]) => !(kind === 'sub-VP' && predictor === 'ancestral_sampling'))
    .map(([predictor, corrector]) =>
      over(
        `sde.predictorCorrector ${kind} ${predictor} ${corrector}`,
        () => ({
          solver: sde.predictorCorrector(process, { predictor, corrector }),
          transitions: sde.sdeTransitions(process, 0.05),
        }),
        epsilon,
        process.priorStd,
      ),
    ),
  {
    name: `sde.probabilityFlow ${kind}`,
    adaptive: true,
    run: async (space, network, extras) => {
      const x = noise(space, process.priorStd);
      const tolerances = { rtol: 1e-4, atol: 1e-4 };
      const denoiser = epsilon(network);
      return (await sde.probabilityFlow({ x, sde: process, denoiser, to: 0.05, ...tolerances, ...extras })).x;
    },
  },
]);

const respaced = respacedSchedule(
  new s.NoiseSchedule({ betaSchedule: 'squaredcos_cap_v2' }),
  respacedTimesteps(1000, [4, 4]),
);
const chain = Array.from({ length: respaced.length }, (_, i) => {
  const t = respaced.length - 1 - i;
  return { from: respaced.at(t), to: t > 0 ? respaced.at(t - 1) : s.vpLevel(-1, 1) };
});
const others: SolverCase[] = [
  {
    name: 'sde.annealedLangevin',
    run: (space, network, extras) =>
      sde.annealedLangevin(noise(space), {
        sigmas: [1, 0.5, 0.2],
        stepsEach: 2,
        stepSize: 1e-3,
        denoiser: epsilon(network),
        ...extras,
      }),
  },
  ...(['ddpm', 'ddim'] as const).map((mean) =>
    over(
      `analytic.analyticDpm ${mean}`,
      () => ({ solver: analytic.analyticDpm(() => 0.6, { mean, eta: 0.5, clipBelow: 2 }), transitions: chain }),
      (network) => s.clipped(epsilon(network)),
    ),
  ),
  over(
    'Improved DDPM, learned range, respaced',
    () => ({ solver: ddpm({ varianceType: 'fixed_large' }), transitions: chain }),
    epsilon,
  ),
  over(
    'karrasVe',
    () => ({ solver: s.karrasVe({ sChurn: 3 }), transitions: k.veTransitions(sigmas) }),
    preconditioned,
    10,
  ),
  over(
    'consistency',
    () => ({ solver: s.consistency({ sigmaMin: 0.002 }), transitions: k.veTransitions(sigmas) }),
    (network) => s.parameterise(network, s.consistencyPreconditioning()),
    10,
  ),
  over(
    'consistency models: stochastic iterative',
    () => ({ solver: stochasticIterative(), transitions: k.veTransitions(sigmas) }),
    (network) => s.parameterise(network, s.consistencyPreconditioning()),
    10,
  ),
  over(
    'consistency models: midpoint',
    () => ({ solver: rhoMidpoint({ sChurn: 3 }), transitions: k.veTransitions(sigmas) }),
    preconditioned,
    10,
  ),
  ...(['euler', 'heun'] as const).map((solver): SolverCase => ({
    name: `edm.generalSampler ${solver}`,
    run: (space, network, extras) =>
      edm.generalSampler({
        x: noise(space),
        denoiser: preconditioned(network),
        numInferenceSteps: STEPS,
        sigmaMin: 0.1,
        sigmaMax: 10,
        solver,
        schedule: 'vp',
        scaling: 'vp',
        alpha: solver === 'heun' ? 0.5 : 1,
        sChurn: 2,
        ...extras,
      }),
  })),
];

const likelihood: SolverCase = {
  name: 'logLikelihood',
  adaptive: true,
  run: async (space, network, extras) => {
    const x = noise(space);
    const probe = space.vec(
      Array.from({ length: SIZE }, (_, i) => (i % 3 ? 1 : -1)),
      BATCH,
    );
    const tolerances = { end: 0.05, difference: 0.1, rtol: 1e-2, atol: 1e-2 };
    return (
      await s.logLikelihood({ x, probe, sde: processes.VE, denoiser: epsilon(network), ...tolerances, ...extras })
    ).z;
  },
};

/** Stands for the gradient of a classifier. */
const towards: s.LogProbGradient = (x) => x.space.clamp(s.LinearForm.of(x), -1, 1);

/** Wrappers of solvers and denoisers: what they add is part of the same pass. */
const wrapped: SolverCase[] = [
  onSigmas('euler, guided and rescaled', () => k.euler(), guidedPair(0.7)),
  onSigmas('dpmpp2mSde on a Brownian path', () => s.brownianNoise(k.dpmpp2mSde(sigmas), { seed: [7, 8] })),
  over(
    'classifier guidance, score form',
    () => ({ solver: s.ddim(), transitions: chain }),
    (network) => s.classifierGuided(epsilon(network), towards, 2),
  ),
  over(
    'classifier guidance, mean shift',
    () => ({ solver: s.classifierMeanShift(ddpm(), { gradient: towards, scale: 2 }), transitions: chain }),
    epsilon,
  ),
  ...(['inpainted', 'consistencyEdit', 'consistencyEdit brightness', 'consistencyEdit patches'] as const).map(
    (kind): SolverCase => ({
      name: kind,
      run(space, network, extras) {
        const [image, mask] = [
          noise(space, 0.5),
          space.vec(
            Array.from({ length: SIZE }, (_, i) => i % 2),
            BATCH,
          ),
        ];
        const replace = {
          inpainted: s.maskReplacement(image, mask),
          consistencyEdit: s.maskReplacement(image, mask),
          'consistencyEdit brightness': s.brightnessReplacement(image, [3, SIZE / BATCH / 3, 1]),
          'consistencyEdit patches': s.patchMeanReplacement(image, [SIZE / BATCH / 4, 2, 2], 2),
        }[kind];
        const edit = s.consistencyEdit({ replace });
        const solver = kind === 'inpainted' ? s.inpainted(k.euler(), { image, maskImage: mask }) : edit;
        const transitions = k.veTransitions(sigmas);
        return s.runSolver({ x: noise(space, 10), solver, transitions, denoiser: preconditioned(network), ...extras });
      },
    }),
  ),
];

/** All of them. */
export const families: SolverCase[] = [...kdiffusion, ...authors, ...scores, ...others, likelihood, ...wrapped];
