/** Scheduler classes as configs make them: integer timesteps, published starts and ends, on the exact denoiser. */
import {
  epsilonPrediction,
  logSnr,
  predictionOf,
  runSolver,
  samplerFrom,
  type Denoiser,
  type HostVec,
} from '../../src/sampler/index.ts';
import { distance, exactDenoiser, exactFlow, fittedOrder, problem, space } from '../../test/sampler/orders/problem.ts';

/** A class with what is not its default. */
const CLASSES: readonly (readonly [name: string, fields: Readonly<Record<string, unknown>>])[] = [
  ['DDIMScheduler', { clip_sample: false }],
  ['EulerDiscreteScheduler', {}],
  ['HeunDiscreteScheduler', {}],
  ['KDPM2DiscreteScheduler', {}],
  ['LMSDiscreteScheduler', {}],
  ['PNDMScheduler', { skip_prk_steps: true }],
  ['PNDMScheduler', { skip_prk_steps: false }],
  ['DPMSolverMultistepScheduler', { solver_order: 2 }],
  ['DPMSolverMultistepScheduler', { solver_order: 3 }],
  ['DPMSolverMultistepScheduler', { solver_order: 2, use_karras_sigmas: true }],
  ['DPMSolverSinglestepScheduler', { solver_order: 2 }],
  ['DPMSolverSinglestepScheduler', { solver_order: 3 }],
  ['DEISMultistepScheduler', { solver_order: 2 }],
  ['DEISMultistepScheduler', { solver_order: 3 }],
  ['UniPCMultistepScheduler', { solver_order: 2 }],
  ['UniPCMultistepScheduler', { solver_order: 3 }],
];

export const COUNTS = [10, 20, 40, 80] as const;

/** λ beyond which nothing moves: sigma below a twenty-thousandth. */
const CLEAN_ENOUGH = 10;

async function errorOf(config: Readonly<Record<string, unknown>>, steps: number): Promise<number> {
  const where = problem('2d');
  const sampler = samplerFrom(config);
  const transitions = sampler.transitions({ numInferenceSteps: steps });
  const [first, last] = [transitions[0].from, transitions[transitions.length - 1].to];
  const start = where.start.map((v) => (v * Math.hypot(first.alpha, first.sigma)) / first.alpha);
  const end = last.sigma > 0 ? logSnr(last) : CLEAN_ENOUGH;
  const want = exactFlow(where, start, logSnr(first), end);
  const x = space.vec(
    start.map((y) => y * first.alpha),
    start.length / where.dims,
  );
  const exact = exactDenoiser(where);
  // The configs are of networks that output ε, and PNDM averages outputs.
  const denoiser: Denoiser = async (at, level) =>
    predictionOf(epsilonPrediction, at, level, (await exact(at, level)).eps);
  const out = await runSolver({ x, transitions, solver: sampler.solver(), denoiser });
  return distance(
    (out as HostVec).data.map((v) => v / last.alpha),
    want,
    where.dims,
  );
}

/** Errors at each count of steps, and the order fitted to them. */
export async function classRows(): Promise<string[][]> {
  const rows: string[][] = [];
  for (const [name, fields] of CLASSES) {
    const errors: number[] = [];
    for (const n of COUNTS) errors.push(await errorOf({ _class_name: name, ...fields }, n));
    const shown = Object.entries(fields).map(([key, value]) => `\`${key}: ${String(value)}\``);
    rows.push([
      `\`${name}\``,
      shown.join(', '),
      ...errors.map((e) => e.toExponential(1)),
      fittedOrder(COUNTS, errors).toFixed(2),
    ]);
  }
  return rows;
}
