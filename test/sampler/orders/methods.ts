/**
 * Every deterministic solver that is offered (stochastic ones with their noise off), the order that theory gives it on
 * steps even in half log-SNR, and how it is run. The plots and the tables of docs/samplers.md are made from this list.
 */
import { rhoMidpoint } from '../../../src/sampler/consistency/consistencySamplers.ts';
import * as s from '../../../src/sampler/index.ts';
import type { NoiseLevel, Solver, Transition } from '../../../src/sampler/index.ts';
import { flowAt, veAt, vpAt } from './problem.ts';
import type { GridMethod, Memory } from './run.ts';

/** A method with its order. */
export interface Method extends GridMethod {
  /** Unique; shown in tables and plots. */
  name: string;
  /** Section of docs/samplers.md. */
  section: string;
  /** Order in theory. */
  order: number;
  /** Evaluations per step. */
  cost: number;
  /** Steps of the runs from which the order is fitted. */
  counts: readonly number[];
  /** As published or as users of a code base know it: measured, but not how the method is meant to converge. */
  variant?: boolean;
}

const { kdiffusion: k, dpmSolver: d } = s;

/** Where orders can be read off: small enough steps for the leading term, large enough to stay above rounding. */
const COUNTS: Readonly<Record<number, readonly number[]>> = {
  1: [40, 80, 160],
  2: [40, 80, 160],
  3: [160, 226, 320],
  4: [160, 240, 360],
  5: [240, 320, 430],
  6: [320, 400, 500],
};

/** Even steps in sigma/alpha are coarse near the picture, so they are measured in the middle of the run. */
const MIDDLE = { even: 'ratio', span: [-1, 1], counts: [200, 300, 450] } as const;

const pairs = (levels: readonly NoiseLevel[], stages?: (i: number) => NoiseLevel[]): Transition[] =>
  levels.slice(1).map((to, i) => ({ from: levels[i], to, ...(stages ? { stages: stages(i) } : {}) }));

/** Levels inside each step, at fractions of it in λ. */
const inside = (
  levels: readonly NoiseLevel[],
  lambdas: readonly number[],
  fractions: readonly number[],
  at: (lambda: number) => NoiseLevel,
): Transition[] => pairs(levels, (i) => fractions.map((f) => at(lambdas[i] + f * (lambdas[i + 1] - lambdas[i]))));

type Extra = Partial<Omit<Method, 'name' | 'section' | 'order'>>;

function method(section: string, name: string, order: number, rest: Extra & Pick<Method, 'at' | 'plan'>): Method {
  return { section, name, order, cost: 1, counts: COUNTS[order], ...rest };
}

/** A solver that needs nothing but its transitions. */
const simple = (
  section: string,
  name: string,
  order: number,
  at: Method['at'],
  solver: Solver,
  extra: Extra = {},
): Method => method(section, name, order, { at, plan: (levels) => ({ solver, transitions: pairs(levels) }), ...extra });

/** A solver made for its grid of sigmas. */
const onSigmas = (
  section: string,
  name: string,
  order: number,
  make: (sigmas: readonly number[]) => Solver,
  extra: Extra = {},
): Method =>
  method(section, name, order, {
    at: veAt,
    plan: (levels) => ({ solver: make(levels.map((l) => l.sigma)), transitions: pairs(levels) }),
    ...extra,
  });

const eps = (count: number): Memory => ({ output: 'eps', count });
const x0 = (count: number): Memory => ({ output: 'x0', count });
/** Every step of the longest run. */
const EVERY = Array.from({ length: 1000 }, (_, i) => i);

const ONE_STEP: Method[] = [
  simple('DDIM', 'ddim', 1, vpAt, s.ddim()),
  simple('DDIM', 'ddim, clipped ε', 1, vpAt, s.ddim({ useClippedModelOutput: true })),
  simple('Euler', 'euler', 1, veAt, s.euler()),
  simple('Euler', 'kdiffusion.euler', 1, veAt, k.euler()),
  simple('Euler', 'kdiffusion.eulerAncestral, η = 0', 1, veAt, k.eulerAncestral({ eta: 0 })),
  simple('Heun', 'heun', 2, veAt, s.heun(), { cost: 2 }),
  simple('Heun', 'kdiffusion.heun', 2, veAt, k.heun(), { cost: 2 }),
  simple('Heun', 'karrasVe, S_churn = 0', 2, veAt, s.karrasVe(), { cost: 2 }),
  method('KDPM2', 'kdpm2', 2, {
    at: veAt,
    cost: 2,
    plan: (levels, lambdas) => ({ solver: s.kdpm2(), transitions: inside(levels, lambdas, [1 / 2], veAt) }),
  }),
  simple('KDPM2', 'rhoMidpoint', 2, veAt, rhoMidpoint(), { cost: 2 }),
  simple('KDPM2', 'kdiffusion.dpm2', 2, veAt, k.dpm2(), { cost: 2 }),
  simple('KDPM2', 'kdiffusion.dpm2Ancestral, η = 0', 2, veAt, k.dpm2Ancestral({ eta: 0 }), { cost: 2 }),
  simple('Flow matching', 'euler on straight paths', 1, flowAt, s.euler()),
  simple('Flow matching', 'heun on straight paths', 2, flowAt, s.heun(), { cost: 2 }),
];

const LMS: Method[] = [
  ...[1, 2, 3, 4].map((order) =>
    simple('LMS', `lms ${order}`, order, veAt, s.lms({ order }), { memory: eps(order - 1) }),
  ),
  ...[1, 2, 3, 4, 5, 6].map((order) =>
    onSigmas('LMS', `kdiffusion.lms ${order}`, order, (sigmas) => k.lms(sigmas, { order }), { memory: eps(order - 1) }),
  ),
];

/** Runge–Kutta steps with both stages at a fraction of the step, in λ or in sigma/alpha. */
const prk = (name: string, order: number, even: 'lambda' | 'ratio'): Method =>
  method('PNDM', name, order, {
    at: vpAt,
    cost: 4,
    ...(even === 'ratio' ? MIDDLE : {}),
    plan: (levels, lambdas) => ({
      solver: s.pndm(),
      transitions: pairs(levels, (i) => {
        const middle =
          even === 'lambda'
            ? (lambdas[i] + lambdas[i + 1]) / 2
            : -Math.log((Math.exp(-lambdas[i]) + Math.exp(-lambdas[i + 1])) / 2);
        return [vpAt(middle), vpAt(middle), vpAt(lambdas[i + 1])];
      }),
    }),
  });

const PNDM: Method[] = [
  simple('PNDM', 'pndm (PLMS)', 2, vpAt, s.pndm(), { memory: eps(3) }),
  simple('PNDM', 'pndm (PLMS), even in σ/α', 4, vpAt, s.pndm(), { memory: eps(3), ...MIDDLE }),
  prk('pndm (PRK)', 2, 'lambda'),
  prk('pndm (PRK), even in σ/α', 4, 'ratio'),
  simple('PNDM', 'ipndm', 2, vpAt, s.ipndm(), { memory: eps(3) }),
  simple('PNDM', 'ipndm, even in σ/α', 4, vpAt, s.ipndm(), { memory: eps(3), ...MIDDLE }),
];

const ALGORITHMS = ['dpmsolver', 'dpmsolver++'] as const;
const outputOf = (algorithm: string): Memory['output'] => (algorithm.endsWith('++') ? 'x0' : 'eps');
const label = (algorithm: string): string => (algorithm.endsWith('++') ? 'x₀' : 'ε');

const multistep = (lowerOrderFinal: boolean): Method[] =>
  ALGORITHMS.flatMap((algorithmType) => {
    const memory = (order: number): Memory => ({ output: outputOf(algorithmType), count: order - 1 });
    const on = label(algorithmType);
    const section = 'DPM-Solver, multistep';
    const own = (name: string, order: number, solverOrder: number, options: s.DpmSolverOptions = {}): Method =>
      simple(
        section,
        `dpmSolverMultistep ${name}, ${on}`,
        order,
        vpAt,
        s.dpmSolverMultistep({ lowerOrderFinal, algorithmType, solverOrder, ...options }),
        { memory: memory(solverOrder) },
      );
    const published = (
      name: string,
      order: number,
      use: 1 | 2 | 3,
      options: s.dpmSolver.DpmMultistepOptions = {},
    ): Method =>
      method(section, `dpmSolver.dpmSolverMultistep ${name}, ${on}`, order, {
        at: vpAt,
        memory: memory(use),
        plan: (levels) => ({
          solver: d.dpmSolverMultistep(levels, { lowerOrderFinal, algorithmType, order: use, ...options }),
          transitions: pairs(levels),
        }),
      });
    return [
      own('1', 1, 1),
      own('2 midpoint', 2, 2),
      own('2 heun', 2, 2, { solverType: 'heun' }),
      own('3', 3, 3),
      { ...own('3 as published', 2, 3, { publishedThirdOrder: true }), variant: true },
      published('1', 1, 1),
      published('2', 2, 2),
      published('2 taylor', 2, 2, { solverType: 'taylor' }),
      published('3', 3, 3),
      { ...published('3 as published', 2, 3, { publishedThirdOrder: true }), variant: true },
    ];
  });

const SINGLESTEP: Method[] = ALGORITHMS.flatMap((algorithmType) => {
  const on = label(algorithmType);
  const section = 'DPM-Solver, singlestep';
  const fractions = (order: number): number[] => Array.from({ length: order - 1 }, (_, i) => (i + 1) / order);
  const own = (order: number, solverType: 'midpoint' | 'heun'): Method =>
    method(section, `dpmSolverSinglestep ${order}${order > 1 ? ` ${solverType}` : ''}, ${on}`, order, {
      at: vpAt,
      cost: order,
      plan: (levels, lambdas) => ({
        solver: s.dpmSolverSinglestep({ algorithmType, solverType }),
        transitions: inside(levels, lambdas, fractions(order), vpAt),
      }),
    });
  const published = (order: number, solverType: 'dpmsolver' | 'taylor'): Method =>
    method(section, `dpmSolver.dpmSolverSinglestep ${order}${order > 1 ? ` ${solverType}` : ''}, ${on}`, order, {
      at: vpAt,
      cost: order,
      plan: (levels, lambdas) => {
        const steps = inside(levels, lambdas, fractions(order), vpAt).map(({ from, stages = [], to }) => [
          from,
          ...stages,
          to,
        ]);
        return { solver: d.dpmSolverSinglestep(steps, { algorithmType, solverType }), transitions: pairs(levels) };
      },
    });
  return [1, 2, 3].flatMap((order) =>
    order === 1
      ? [own(1, 'midpoint'), published(1, 'dpmsolver')]
      : [own(order, 'midpoint'), own(order, 'heun'), published(order, 'dpmsolver'), published(order, 'taylor')],
  );
});

/** Steps of one order, uniform in log σ. */
const fast = (name: string, order: number, orders: (n: number) => number[], extra: Extra = {}): Method =>
  method('DPM fast and adaptive', name, order, {
    at: veAt,
    plan: (levels) => {
      const sigmas = Float64Array.from(levels, (l) => l.sigma);
      return { solver: k.dpmFast({ sigmas, orders: orders(levels.length - 1) }), transitions: pairs(levels) };
    },
    ...extra,
  });
const filled = (order: number) => (n: number) => Array<number>(n).fill(order);

const FAST: Method[] = [
  fast('kdiffusion.dpmFast, order 1', 1, filled(1)),
  fast('kdiffusion.dpmFast, order 2', 2, filled(2), { cost: 2 }),
  fast('kdiffusion.dpmFast, order 3', 3, filled(3), { cost: 3 }),
  fast('kdiffusion.dpmFast, plan', 2, (n) => [...Array<number>(n - 2).fill(3), 2, 1], { cost: 3, variant: true }),
];

const PLUS_PLUS: Method[] = [
  onSigmas('DPM-Solver++ of k-diffusion', 'kdiffusion.dpmpp2m', 2, (sigmas) => k.dpmpp2m(sigmas), { memory: x0(1) }),
  simple('DPM-Solver++ of k-diffusion', 'kdiffusion.dpmpp2sAncestral, η = 0', 2, veAt, k.dpmpp2sAncestral({ eta: 0 }), {
    cost: 2,
  }),
  ...[1 / 2, 1 / 3].map((r) =>
    simple(
      'DPM-Solver++ of k-diffusion',
      `kdiffusion.dpmppSde, η = 0, r = ${r === 1 / 2 ? '½' : '⅓'}`,
      2,
      veAt,
      k.dpmppSde({ eta: 0, r }),
      { cost: 2 },
    ),
  ),
  ...(['midpoint', 'heun'] as const).map((solverType) =>
    onSigmas(
      'DPM-Solver++ of k-diffusion',
      `kdiffusion.dpmpp2mSde, η = 0, ${solverType}`,
      2,
      (sigmas) => k.dpmpp2mSde(sigmas, { eta: 0, solverType }),
      { memory: x0(1) },
    ),
  ),
  onSigmas(
    'DPM-Solver++ of k-diffusion',
    'kdiffusion.dpmpp3mSde, η = 0',
    3,
    (sigmas) => k.dpmpp3mSde(sigmas, { eta: 0 }),
    { memory: x0(2) },
  ),
  onSigmas(
    'DPM-Solver++ of k-diffusion',
    'kdiffusion.dpmpp3mSde, η = 0, as published',
    2,
    (sigmas) => k.dpmpp3mSde(sigmas, { eta: 0, publishedThirdOrder: true }),
    { memory: x0(2), variant: true },
  ),
];

const deis = (lowerOrderFinal: boolean): Method[] =>
  [1, 2, 3].map((solverOrder) =>
    simple('DEIS', `deis ${solverOrder}`, solverOrder, vpAt, s.deis({ lowerOrderFinal, solverOrder }), {
      memory: eps(solverOrder - 1),
    }),
  );

const unipc = (lowerOrderFinal: boolean): Method[] =>
  ([true, false] as const).flatMap((predictX0) => {
    const memory = (count: number): Memory => ({ output: predictX0 ? 'x0' : 'eps', count, state: true });
    const on = predictX0 ? 'x₀' : 'ε';
    return (['bh1', 'bh2'] as const).flatMap((solverType) =>
      [1, 2, 3].flatMap((solverOrder) => [
        simple(
          'UniPC',
          `uniPc ${solverOrder} ${solverType}, ${on}`,
          solverOrder + 1,
          vpAt,
          s.uniPc({ lowerOrderFinal, solverOrder, solverType, predictX0 }),
          { memory: memory(solverOrder) },
        ),
        simple(
          'UniPC',
          `uniPc ${solverOrder} ${solverType}, ${on}, no corrector`,
          solverOrder,
          vpAt,
          s.uniPc({ lowerOrderFinal, solverOrder, solverType, predictX0, disableCorrector: EVERY }),
          { memory: memory(solverOrder) },
        ),
      ]),
    );
  });

function all(lowerOrderFinal: boolean): Method[] {
  return [
    ...ONE_STEP,
    ...LMS,
    ...PNDM,
    ...multistep(lowerOrderFinal),
    ...SINGLESTEP,
    ...FAST,
    ...PLUS_PLUS,
    ...deis(lowerOrderFinal),
    ...unipc(lowerOrderFinal),
  ];
}

/** All methods on a grid, of full order to the end. */
export const METHODS: readonly Method[] = all(false);

/** The same with the order lowered at the end where that is a method's default. */
export const AS_PUBLISHED: readonly Method[] = all(true);
