/** The probability-flow ODE. Song et al. 2021, section 4.3 and appendix D, https://arxiv.org/abs/2011.13456 */
import type { Denoiser } from '../parameterisation/denoiser.ts';
import { LinearForm, type Vec } from '../vec.ts';
import { rk45, type OdeSlope, type Rk45Options } from './rk45.ts';
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

/** f(t)·x − ½·g(t)²·∇ log p(x), equation 13, and the picture as believed at x. */
export async function flowAt(
  { sde, denoiser, signal }: Pick<FlowOptions, 'sde' | 'denoiser' | 'signal'>,
  t: number,
  x: Vec,
): Promise<{ slope: LinearForm; x0: LinearForm }> {
  const at = sde.level(t);
  const { x0, eps } = await denoiser(x, at, signal);
  return { slope: LinearForm.of(x, sde.drift(t)).plus(eps, sde.diffusion(t) ** 2 / (2 * at.sigma)), x0 };
}

/** The slope of {@link flowAt} alone. */
export async function flowSlope(
  options: Pick<FlowOptions, 'sde' | 'denoiser' | 'signal'>,
  t: number,
  x: Vec,
): Promise<LinearForm> {
  return (await flowAt(options, t, x)).slope;
}

/** x at `to`, by RK45. @returns it and the count of evaluations @throws as {@link rk45} */
export async function probabilityFlow(options: FlowOptions): Promise<{ x: Vec; evaluations: number }> {
  const { x, sde, from = 1, to = sde.end } = options;
  const slope: OdeSlope = async (t, y) => {
    const { slope: form, x0 } = await flowAt(options, t, y.x);
    return { x: form.materialise(), extra: [], x0 };
  };
  const levelAt = (t: number) => sde.level(t);
  const { state, evaluations } = await rk45(slope, from, to, { x, extra: [] }, { levelAt, ...options });
  return { x: state.x, evaluations };
}
