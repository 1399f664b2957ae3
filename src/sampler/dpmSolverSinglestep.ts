/** DPM-Solver and DPM-Solver++, singlestep. Lu et al. 2022, https://arxiv.org/abs/2206.00927 and /2211.01095 */
import { dpmCoefficients, phiTerms, type Node } from './dpmCoefficients.ts';
import type { DpmSolverOptions } from './dpmSolverMultistep.ts';
import { logSnr } from './sigmas.ts';
import type { Solver } from './solver.ts';
import { LinearForm, type Vec } from './vec.ts';

/**
 * One step through the transition's stages: with none it has order 1, with one 2, with two 3, and as many evaluations.
 * From x, and the outputs so far, it goes to each stage in turn, and from x again to the end.
 *
 * @throws ConfigError (on the step) if the algorithm is unknown
 */
export function dpmSolverSinglestep(options: Pick<DpmSolverOptions, 'algorithmType' | 'solverType'> = {}): Solver {
  const { algorithmType = 'dpmsolver++', solverType = 'midpoint' } = options;
  return async ({ x, from, to, stages = [], denoise, noise, signal }) => {
    const seen: { lambda: number; m: Vec }[] = [];
    const levels = [from, ...stages, to];
    let prediction = await denoise(x, from, signal);
    for (let k = 0; ; k++) {
      const m = (algorithmType.endsWith('++') ? prediction.x0 : prediction.eps).materialise();
      seen.push({ lambda: logSnr(levels[k]), m });
      const { carry, step: s, weight, spread, h } = dpmCoefficients(algorithmType, from, levels[k + 1]);
      const [first, ...rest] = seen;
      const nodes: Node[] = rest.map((o) => ({ r: (o.lambda - first.lambda) / h, m: o.m }));
      const midpoint = solverType === 'midpoint';
      const terms = midpoint // of the third order, too, only the last difference: 2022a, algorithm 2
        ? phiTerms(s, first.m, nodes.slice(-1), k === 1 ? Math.expm1(s) / 2 : undefined)
        : phiTerms(s, first.m, nodes);
      const next = LinearForm.of(x, carry).minus(terms, weight);
      const there = (algorithmType.startsWith('sde') ? next.plus(noise(x), spread) : next).materialise();
      if (k === stages.length) return { x: there, x0: prediction.x0 };
      prediction = await denoise(there, levels[k + 1], signal);
    }
  };
}
