/** A network of EDM as a denoiser: the preconditioning that its config names around it. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { EdmCall, EdmNetwork } from '../../models/edm/edmModel.ts';
import type { RunOptions } from '../../models/modelRuntime.ts';
import {
  edmPrecond,
  iddpmPrecond,
  vePrecond,
  vpPrecond,
  type Preconditioning,
} from '../../sampler/edm/preconditioning.ts';

/**
 * How a loaded network is seen as a denoiser; for `parameterise` at levels that its `level` makes.
 * @throws InvalidArgumentError for a network whose config names none
 */
export function preconditioningOf({ config: { precond }, levels }: EdmNetwork): Preconditioning {
  switch (precond?.type) {
    case 'edm':
      return edmPrecond(precond);
    case 've':
      return vePrecond(precond);
    case 'vp':
      return vpPrecond(precond);
    case 'iddpm':
      return iddpmPrecond(levels);
    case undefined:
      throw new InvalidArgumentError(
        'preconditioningOf: expected a network with a preconditioning, got one alone; build it with edmPrecond or another',
      );
  }
}

/** One evaluation of a denoiser. */
export interface EdmDenoiseCall extends RunOptions, Pick<EdmCall, 'classLabels' | 'augmentLabels'> {
  /** Noisy pictures x₀ + sigma·ε, [B,C,H,W], on the host. */
  sample: { data: Float32Array; shape: readonly number[] };
  /** One for the batch, or one per item; > 0. */
  sigma: number | readonly number[];
}

/** What {@link edmDenoise} finds, all on the host. */
export interface EdmDenoised {
  /** D(x; sigma), [B,C,H,W]. */
  denoised: Float32Array;
  /** c_in·x, what the network saw. */
  input: Float32Array;
  /** c_noise of each item, what it was told. */
  noiseLabels: number[];
  /** F, what it answered, with its learned variance if there is one. */
  output: Float32Array;
}

/**
 * D(x; sigma) = c_skip·x + c_out·F(c_in·x; c_noise), in f32 as the authors compute it. Karras et al. 2022, equation 7.
 * @throws as {@link EdmNetwork.forward} and {@link preconditioningOf}
 */
export async function edmDenoise(network: EdmNetwork, call: EdmDenoiseCall): Promise<EdmDenoised> {
  const f = Math.fround;
  const precond = preconditioningOf(network);
  const { data, shape } = call.sample;
  const batch = shape[0];
  const size = data.length / batch;
  const sigmas = typeof call.sigma === 'number' ? Array<number>(batch).fill(call.sigma) : call.sigma;
  if (sigmas.length !== batch || !sigmas.every((s) => s > 0)) {
    throw new InvalidArgumentError(`edmDenoise: expected one sigma or ${batch}, above 0, got ${sigmas.join(', ')}`);
  }
  const scalings = sigmas.map((s) => precond.scalings(s));
  const noiseLabels = sigmas.map((s) => precond.noiseLabel(s));
  const input = data.map((v, i) => scalings[Math.floor(i / size)].cIn * v);
  const out = await network.forward({ ...call, sample: { data: input, shape }, noiseLabels });
  const output = await out.read();
  const each = output.length / batch;
  const denoised = data.map((v, i) => {
    const b = Math.floor(i / size);
    const { cSkip, cOut } = scalings[b];
    return f(cSkip * v) + f(cOut * output[b * each + (i % size)]);
  });
  return { denoised, input, noiseLabels, output };
}
