/** What a stochastic method does to one Gaussian, followed exactly: mean, deviation, and runs side by side. */
import {
  type Denoiser,
  type HostVec,
  type NoiseLevel,
  type NoiseSource,
  type Solver,
  type Transition,
  type Vec,
} from '../../../src/sampler/index.ts';
import { exactDenoiser, space, type Problem } from './problem.ts';
import type { Stochastic } from './stochastic.ts';

/** One Gaussian on the line: every solver is affine there, so mean and variance follow without sampling. */
const [MEAN, VARIANCE] = [1, 0.08];
const GAUSSIAN: Problem = {
  name: 'one Gaussian',
  dims: 1,
  mixture: { weights: [1], means: [[MEAN]], variances: [[VARIANCE]] },
  start: new Float64Array(1),
};

/** E[ε²] on that Gaussian, by which Analytic-DPM finds the best variance. */
export const gaussianGamma = ({ alpha, sigma }: NoiseLevel): number =>
  sigma ** 2 / (alpha ** 2 * VARIANCE + sigma ** 2);

type Values = number[];

/** x and history after a step from given ones, with given draws (0 where there are none); and how many were drawn. */
async function stepped(
  solver: Solver,
  denoise: Denoiser,
  step: Transition & { index: number; transitions: readonly Transition[] },
  values: Values,
  draw?: number,
): Promise<{ values: Values; draws: number }> {
  let draws = 0;
  const noise: NoiseSource = () => space.vec([draws++ === draw ? 1 : 0]);
  const [x, ...history] = values.map((v) => space.vec([v]));
  const done = await solver({ ...step, x, history, denoise, noise });
  const read = (v: Vec): number => (v as HostVec).data[0];
  return { values: [done.x, ...(done.history ?? [])].map(read), draws };
}

/** A step as an affine map: base + columns·state + gains·draws. */
interface Affine {
  base: Values;
  columns: Values[];
  gains: Values[];
}

/** Reads the map off by probing, for a state of so many numbers. */
async function affine(
  solver: Solver,
  transitions: readonly Transition[],
  index: number,
  size: number,
): Promise<Affine> {
  const denoise = exactDenoiser(GAUSSIAN);
  const step = { ...transitions[index], index, transitions };
  const zero = Array<number>(size).fill(0);
  const { values: base, draws } = await stepped(solver, denoise, step, zero);
  const less = ({ values }: { values: Values }): Values => values.map((v, i) => v - base[i]);
  const columns: Values[] = [];
  for (let c = 0; c < size; c++) {
    const unit = zero.map((_, i) => (i === c ? 1 : 0));
    columns.push(less(await stepped(solver, denoise, step, unit)));
  }
  const gains: Values[] = [];
  for (let j = 0; j < draws; j++) gains.push(less(await stepped(solver, denoise, step, zero, j)));
  return { base, columns, gains };
}

/**
 * Two runs side by side as one Gaussian state: its mean, and its coordinates along independent normals, of which a row
 * of `spread` holds one number each. Steps act on the rows of their run alone.
 */
class SideBySide {
  private readonly runs: { mean: Values; spread: number[][] }[];
  private normals = 1;

  constructor(levels: readonly NoiseLevel[]) {
    this.runs = levels.map(({ alpha, sigma }) => ({
      mean: [alpha * MEAN],
      spread: [[Math.sqrt(alpha ** 2 * VARIANCE + sigma ** 2)]],
    }));
  }

  size(run: number): number {
    return this.runs[run].mean.length;
  }

  /** New normals that draws are made of; @returns where the first stands */
  cells(count: number): number {
    this.compress();
    const first = this.normals;
    this.normals += count;
    for (const run of this.runs) run.spread.forEach((row) => row.push(...Array<number>(count).fill(0)));
    return first;
  }

  /** @param draws of each draw, the weights of its normals from `first` on */
  step(run: number, { base, columns, gains }: Affine, first: number, draws: readonly Values[]): void {
    const { mean, spread } = this.runs[run];
    const along = (i: number, of: (c: number) => number): number =>
      columns.reduce((sum, column, c) => sum + column[i] * of(c), 0);
    this.runs[run] = {
      mean: base.map((v, i) => v + along(i, (c) => mean[c])),
      spread: base.map((_, i) =>
        Array.from({ length: this.normals }, (__, k) => {
          const drawn = gains.reduce((sum, gain, j) => sum + gain[i] * (draws[j][k - first] ?? 0), 0);
          return along(i, (c) => spread[c][k]) + drawn;
        }),
      ),
    };
  }

  /** Mean and deviation of the weighted sum of the runs' states x. */
  of(weights: Values): { mean: number; deviation: number } {
    const rows = this.runs.map((run) => run.spread[0]);
    const sum = rows[0].map((_, k) => weights.reduce((total, w, r) => total + w * rows[r][k], 0));
    const mean = weights.reduce((total, w, r) => total + w * this.runs[r].mean[0], 0);
    return { mean, deviation: Math.hypot(...sum) };
  }

  /** The same law along as many normals as there are numbers: the triangular factor of the covariance. */
  private compress(): void {
    const rows = this.runs.flatMap((run) => run.spread);
    const factor: number[][] = rows.map(() => Array<number>(rows.length).fill(0));
    const basis: Values[] = [];
    rows.forEach((row, i) => {
      let rest = row;
      basis.forEach((unit, j) => {
        const dot = rest.reduce((sum, v, k) => sum + v * unit[k], 0);
        factor[i][j] = dot;
        rest = rest.map((v, k) => v - dot * unit[k]);
      });
      const norm = Math.hypot(...rest);
      factor[i][i] = norm;
      basis.push(norm > 0 ? rest.map((v) => v / norm) : rest);
    });
    this.normals = rows.length;
    let at = 0;
    for (const run of this.runs) run.spread = run.spread.map(() => factor[at++]);
  }
}

/** Cells of Brownian motion per step of the coarser run: stages half-way in the finer one still meet them. */
const CELLS = 4;

/** Weights of a step's draws over the cells that it spans, which begin at `offset`. */
function weightsOf({ draws = [[0, 1]] }: Stochastic, offset: number, span: number): Values[] {
  return draws.map(([a, b]) => {
    const [from, to] = [offset + a * span, offset + b * span];
    return Array.from({ length: CELLS }, (_, k) => (k >= from && k < to ? 1 / Math.sqrt(to - from) : 0));
  });
}

/** Error of mean and deviation, in x/alpha, after n steps on one Gaussian. */
export async function gaussianError(method: Stochastic, n: number): Promise<number> {
  const { solver, transitions } = method.plan(n);
  const law = new SideBySide([transitions[0].from]);
  for (let i = 0; i < transitions.length; i++) {
    const map = await affine(solver, transitions, i, law.size(0));
    const independent = map.gains.map((_, j) => map.gains.map((__, k) => (j === k ? 1 : 0)));
    law.step(0, map, law.cells(map.gains.length), independent);
  }
  const { alpha, sigma } = transitions[transitions.length - 1].to;
  const { mean, deviation } = law.of([1 / alpha]);
  return Math.hypot(mean - MEAN, deviation - Math.sqrt(VARIANCE + (sigma / alpha) ** 2));
}

/** Root mean square distance, in x/alpha, of runs of n and 2n steps on one Gaussian from one Brownian motion. */
export async function gaussianDistance(method: Stochastic, n: number): Promise<number> {
  const [coarse, fine] = [method.plan(n), method.plan(2 * n)];
  const law = new SideBySide([coarse.transitions[0].from, fine.transitions[0].from]);
  for (let i = 0; i < n; i++) {
    const first = law.cells(CELLS);
    const whole = await affine(coarse.solver, coarse.transitions, i, law.size(0));
    law.step(0, whole, first, weightsOf(method, 0, CELLS));
    for (const half of [0, 1]) {
      const map = await affine(fine.solver, fine.transitions, 2 * i + half, law.size(1));
      law.step(1, map, first, weightsOf(method, (half * CELLS) / 2, CELLS / 2));
    }
  }
  const scale = (t: readonly Transition[]): number => 1 / t[t.length - 1].to.alpha;
  const { mean, deviation } = law.of([scale(coarse.transitions), -scale(fine.transitions)]);
  return Math.hypot(mean, deviation);
}
