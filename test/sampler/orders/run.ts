/** One run of a method over a grid of n steps: from the published start, or from states and outputs that are exact. */
import {
  runSolver,
  type HostVec,
  type NoiseLevel,
  type SamplerState,
  type Solver,
  type Transition,
} from '../../../src/sampler/index.ts';
import {
  CLEAN,
  distance,
  endsOf,
  exactDenoiser,
  exactFlow,
  NOISY,
  posteriorMean,
  space,
  type Problem,
  type Span,
} from './problem.ts';

/** A solver made for its levels, and its steps. */
export interface Plan {
  solver: Solver;
  transitions: readonly Transition[];
}

/** What a multistep solver keeps: outputs ε or x₀ of steps before, newest first; UniPC's begin with a state. */
export interface Memory {
  output: 'eps' | 'x0';
  /** Outputs kept. */
  count: number;
  /** The state of the step before comes first. */
  state?: boolean;
}

/** A method on a grid of levels. */
export interface GridMethod {
  /** Level at half log-SNR λ in the method's own scaling. */
  at: (lambda: number) => NoiseLevel;
  /** @param levels n + 1 of them @param lambdas their half log-SNR */
  plan: (levels: readonly NoiseLevel[], lambdas: readonly number[]) => Plan;
  memory?: Memory;
  /** How the grid is spaced: evenly in λ (the default), or in sigma/alpha. */
  even?: 'lambda' | 'ratio';
  /** Default {@link NOISY} to {@link CLEAN}. */
  span?: Span;
}

/** What a run costs and how far off it ends, in x/alpha. */
export interface Measured {
  error: number;
  evaluations: number;
}

/** n + 1 half log-SNRs. */
function gridOf(n: number, { even = 'lambda', span: [from, to] = [NOISY, CLEAN] }: GridMethod): number[] {
  const [a, b] = [Math.exp(-from), Math.exp(-to)];
  return Array.from({ length: n + 1 }, (_, i) => {
    if (i === 0 || i === n) return i === 0 ? from : to;
    return even === 'lambda' ? from + ((to - from) * i) / n : -Math.log(a + ((b - a) * i) / n);
  });
}

/** The state of a run after `memory.count` steps without any error. */
function exactStart(
  problem: Problem,
  first: Float64Array,
  { count, output, state }: Memory,
  levels: readonly NoiseLevel[],
  lambdas: readonly number[],
): SamplerState {
  const states = [first];
  for (let i = 1; i <= count; i++) states.push(exactFlow(problem, states[i - 1], lambdas[i - 1], lambdas[i]));
  const scaled = (i: number): number[] => Array.from(states[i], (y) => y * levels[i].alpha);
  const outputs = Array.from({ length: count }, (_, k) => {
    const i = count - 1 - k;
    const [x, { alpha, sigma }] = [scaled(i), levels[i]];
    const picture = [...posteriorMean(problem, x, levels[i])];
    return output === 'x0' ? picture : picture.map((p, j) => (x[j] - alpha * p) / sigma);
  });
  return {
    step: count,
    x: scaled(count),
    history: [...(state ? [scaled(count - 1)] : []), ...outputs],
    generators: [],
  };
}

const zeros = (like: { length: number; batch: number }): HostVec =>
  space.vec(new Float64Array(like.length), like.batch);

/** Runs n steps from noise to picture. Where noise is drawn it is 0: solvers are deterministic here. */
export async function runGrid(
  problem: Problem,
  method: GridMethod,
  n: number,
  start: 'exact' | 'published' = 'exact',
): Promise<Measured> {
  const lambdas = gridOf(n, method);
  const levels = lambdas.map(method.at);
  const { solver, transitions } = method.plan(levels, lambdas);
  const { first, last } = endsOf(problem, method.span);
  const denoiser = exactDenoiser(problem);
  const items = first.length / problem.dims;
  const x = space.vec(
    first.map((y) => y * levels[0].alpha),
    items,
  );
  const resume =
    start === 'exact' && method.memory ? exactStart(problem, first, method.memory, levels, lambdas) : undefined;
  const out = (await runSolver({ x, denoiser, solver, transitions, noise: zeros, resume })) as HostVec;
  const end = transitions[transitions.length - 1].to.alpha;
  return {
    error: distance(
      out.data.map((v) => v / end),
      last,
      problem.dims,
    ),
    evaluations: denoiser.calls,
  };
}
