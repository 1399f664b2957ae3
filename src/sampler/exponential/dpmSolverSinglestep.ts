/** DPM-Solver and DPM-Solver++, singlestep. Lu et al. 2022, https://arxiv.org/abs/2206.00927 and /2211.01095 */
import { dpmCoefficients, phiTerms, type Node } from './dpmCoefficients.ts';
import type { DpmSolverOptions } from './dpmSolverMultistep.ts';
import type { NoiseLevel } from '../schedule/schedule.ts';
import { logSnr } from '../schedule/sigmas.ts';
import type { Solver, StepInput } from '../solver.ts';
import { LinearForm, type Vec } from '../vec.ts';

/** The choices that the method leaves. */
export interface DpmSinglestepOptions extends Pick<DpmSolverOptions, 'algorithmType' | 'solverType'> {
  /**
   * How the third order goes to its second stage: by the midpoint rule (default), as diffusers does, or by φ₂ in full,
   * as the authors published it (2022a, algorithm 2).
   */
  secondStage?: 'midpoint' | 'full';
}

/** A step at whose start and stages the network has been asked. */
export interface PassedStages {
  readonly x: Vec;
  readonly from: NoiseLevel;
  /** Outputs (ε, or x₀ with ++) with their λ, in order. */
  readonly seen: readonly { lambda: number; m: Vec }[];
  /** The picture as last believed. */
  readonly x0: LinearForm;
}

/** From the step's start to a level, of as high an order as there are outputs; the mean, where noise follows. */
export function reach(
  { x, from, seen }: Omit<PassedStages, 'x0'>,
  to: NoiseLevel,
  { algorithmType = 'dpmsolver++', solverType = 'midpoint' }: DpmSinglestepOptions = {},
  halved = true,
): LinearForm {
  const { carry, step: s, weight, h } = dpmCoefficients(algorithmType, from, to);
  const [first, ...rest] = seen;
  const nodes: Node[] = rest.map((o) => ({ r: (o.lambda - first.lambda) / h, m: o.m }));
  const terms =
    solverType === 'midpoint' // of the third order, too, only the last difference: 2022a, algorithm 2
      ? phiTerms(s, first.m, nodes.slice(-1), halved && nodes.length === 1 ? Math.expm1(s) / 2 : undefined)
      : phiTerms(s, first.m, nodes);
  return LinearForm.of(x, carry).minus(terms, weight);
}

/** Asks the network at the start of a step and at its stages, each reached from the outputs before it. */
export async function passStages(step: StepInput, options: DpmSinglestepOptions = {}): Promise<PassedStages> {
  const { x, from, stages = [], denoise, signal } = step;
  const { algorithmType = 'dpmsolver++', secondStage = 'midpoint' } = options;
  const seen: { lambda: number; m: Vec }[] = [];
  const look = async (at: Vec, level: NoiseLevel): Promise<LinearForm> => {
    const { x0, eps } = await denoise(at, level, signal);
    seen.push({ lambda: logSnr(level), m: (algorithmType.endsWith('++') ? x0 : eps).materialise() });
    return x0;
  };
  let x0 = await look(x, from);
  for (const level of stages) {
    const mean = reach({ x, from, seen }, level, options, secondStage === 'midpoint');
    x0 = await look(withNoise(mean, step, level, algorithmType).materialise(), level);
  }
  return { x, from, seen, x0 };
}

function withNoise(
  mean: LinearForm,
  { x, from, noise }: StepInput,
  to: NoiseLevel,
  algorithmType: NonNullable<DpmSolverOptions['algorithmType']>,
): LinearForm {
  if (!algorithmType.startsWith('sde')) return mean;
  return mean.plus(noise(x, to), dpmCoefficients(algorithmType, from, to).spread);
}

/**
 * One step through the transition's stages: with none it has order 1, with one 2, with two 3, and as many evaluations.
 * From x, and the outputs so far, it goes to each stage in turn, and from x again to the end.
 *
 * @throws ConfigError (on the step) if the algorithm is unknown
 */
export function dpmSolverSinglestep(options: DpmSinglestepOptions = {}): Solver {
  return async (step) => {
    const passed = await passStages(step, options);
    const { algorithmType = 'dpmsolver++' } = options;
    const there = withNoise(reach(passed, step.to, options), step, step.to, algorithmType);
    return { x: there.materialise(), x0: passed.x0 };
  };
}
