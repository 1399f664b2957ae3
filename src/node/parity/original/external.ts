/** Parity with k-diffusion's wrappers of discrete ε and v models, and of v-diffusion models. */
import type { Directory } from '../../../loading/directory.ts';
import { parameterise, type Network, type PredictionType } from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { cosineTime, DiscreteSigmas, fromVariancePreserving, veLevel } from '../../../sampler/kdiffusion/index.ts';
import { NoiseSchedule } from '../../../sampler/schedule/schedule.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';

/** The recording's stand-in for a network: tanh(½·x·A + t/scale). */
function standIn(a: Float64Array, scale: number): Network {
  return (x, t) => {
    const { data, space, batch } = x as HostVec;
    const out = Float64Array.from(data, (_, j) => {
      let sum = 0;
      for (let i = 0; i < data.length; i++) sum += data[i] * a[i * data.length + j];
      return Math.tanh(sum / 2 + t / scale);
    });
    return space.vec(out, batch);
  };
}

/** Times of sigmas and sigmas of times, and what each wrapper makes of the stand-in. */
export async function runKDiffusionExternal(dir: Directory): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ N: number; n: number }>(dir);
  const { N, n } = recording.config;
  const [a, sigmas] = [recording.tensor('in.A').data, [...recording.tensor('in.sigma').data]];
  const options = { betaSchedule: 'scaled_linear', betaStart: 0.00085, betaEnd: 0.012 } as const;
  const table = new DiscreteSigmas(new NoiseSchedule({ ...options, numTrainTimesteps: N, precision: 'f64' }));
  const space = new HostSpace('f64');
  const denoised = async (
    type: PredictionType,
    scale: number,
    timeOf: (sigma: number) => number,
  ): Promise<number[]> => {
    const denoiser = fromVariancePreserving(parameterise(standIn(a, scale), type), timeOf);
    const all: number[] = [];
    for (const [i, sigma] of sigmas.entries()) {
      const { x0 } = await denoiser(space.vec(recording.item('in.x', i)), veLevel(sigma));
      all.push(...(x0.materialise() as HostVec).data);
    }
    return all;
  };
  for (const quantize of [false, true]) {
    const timeOf = (sigma: number): number => table.timeOf(sigma, quantize);
    const q = quantize ? 'q1' : 'q0';
    recording.compare(`eps.${q}.sigma_to_t`, sigmas.map(timeOf));
    recording.compare(`eps.${q}.denoised`, await denoised('epsilon', N, timeOf));
    recording.compare(`v.${q}.denoised`, await denoised('v_prediction', N, timeOf));
  }
  const times = [...recording.tensor('in.t').data];
  const found = times.map((t) => table.sigmaOf(t));
  recording.compare('t_to_sigma', found, 'F32'); // the original takes times and their fractions in f32
  recording.compare('get_sigmas', table.sigmas(n));
  recording.compare('vdenoiser', await denoised('v_prediction', 1, cosineTime));
  recording.compare('vdenoiser.t', sigmas.map(cosineTime));
  return recording.result();
}
