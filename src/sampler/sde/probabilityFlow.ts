/** The probability-flow ODE. Song et al. 2021, section 4.3 and appendix D, https://arxiv.org/abs/2011.13456 */
import type { Denoiser } from '../denoiser.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { rk45, type Rk45Options } from './rk45.ts';
import type { Sde } from './sde.ts';

/** What is needed. */
export interface FlowOptions extends Rk45Options {
  /** The start at `from`. Not written to. */
  x: Vec;
  sde: Sde;
  denoiser: Denoiser;
  /** Default 1, noise. */
  from?: number;
  /** Default the process's end, pictures. */
  to?: number;
}

/** f(t)·x − ½·g(t)²·∇ log p(x), equation 13. */
export async function flowSlope(
  { sde, denoiser, signal }: Pick<FlowOptions, 'sde' | 'denoiser' | 'signal'>,
  t: number,
  x: Vec,
): Promise<LinearForm> {
  const at = sde.level(t);
  const { eps } = await denoiser(x, at, signal);
  return LinearForm.of(x, sde.drift(t)).plus(eps, sde.diffusion(t) ** 2 / (2 * at.sigma));
}

/** x at `to`, by RK45. @returns it and the count of evaluations @throws as {@link rk45} */
export async function probabilityFlow(options: FlowOptions): Promise<{ x: Vec; evaluations: number }> {
  const { x, sde, from = 1, to = sde.end } = options;
  x.space.beginRun();
  const slope = async (t: number, y: { x: Vec }): Promise<{ x: Vec; extra: number[] }> => ({
    x: (await flowSlope(options, t, y.x)).materialise(),
    extra: [],
  });
  const { state, evaluations } = await rk45(slope, from, to, { x, extra: [] }, options);
  return { x: state.x, evaluations };
}
