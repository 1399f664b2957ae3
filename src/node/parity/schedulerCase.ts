/** Parity of samplers: a denoising run recorded from the reference library, replayed on the host with its own noise. */
import { HostSpace, type HostVec } from '../../sampler/hostVec.ts';
import { samplerFrom } from '../../sampler/samplerFrom.ts';
import type { Network } from '../../sampler/denoiser.ts';
import type { NoiseSource } from '../../sampler/solver.ts';
import { HINT_FACTOR } from './cases.ts';
import { worstDifference } from './torchRandnCase.ts';

/** One file of `schedulers/`; the manifest beside it describes the fields. */
interface SchedulerCase {
  config: Record<string, unknown>;
  num_inference_steps: number | null;
  set_timesteps_kwargs?: { timesteps?: number[] };
  step_kwargs?: Record<string, unknown>;
  shape: number[];
  timesteps: number[];
  t_start?: number;
  alphas_cumprod_at?: Record<string, number>;
  initial_sample: number[];
  tol_abs_hint: number;
  add_noise?: { original: number[]; noise: number[]; t: number; out: number[] };
  img2img_original?: number[];
  img2img_noise?: number[];
  steps: {
    t: number;
    model_output: number[];
    noise?: number[][];
    sample: number[];
    pred_original_sample?: number[];
  }[];
}

/** The fixtures' stand-in for a network: 0.9·tanh(0.7x + 0.1·sin(t/100)); as variance, 0.8·sin(x + t/250). */
function toyNetwork(learnsVariance: boolean): Network {
  const mean = (x: number, t: number): number => 0.9 * Math.tanh(0.7 * x + 0.1 * Math.sin(t / 100));
  const variance = (x: number, t: number): number => 0.8 * Math.sin(x + t / 250);
  return (x, t) => {
    const { data, space, batch } = x as HostVec;
    const size = data.length / batch;
    const out: number[] = [];
    for (let b = 0; b < batch; b++) {
      const item = Array.from(data.subarray(b * size, (b + 1) * size));
      out.push(...item.map((v) => mean(v, t)));
      if (learnsVariance) out.push(...item.map((v) => variance(v, t)));
    }
    return space.vec(out, batch);
  };
}

/** Step arguments that the solver must know; another one would change the result unseen. */
function solverOptions(kwargs: Record<string, unknown>): { eta?: number; useClippedModelOutput?: boolean } {
  const { eta, use_clipped_model_output: useClippedModelOutput, ...rest } = kwargs;
  if (Object.keys(rest).length > 0)
    throw new Error(`scheduler case: expected step_kwargs eta or use_clipped_model_output, got ${Object.keys(rest)}`);
  return { eta: eta as number | undefined, useClippedModelOutput: useClippedModelOutput as boolean | undefined };
}

/**
 * Replays a case: timesteps exactly, then ᾱ, the forward process and every step's state and x₀.
 *
 * @param json the parsed case
 * @returns the worst absolute difference (infinite where timesteps or the count of steps or draws differ), and what is
 *   allowed
 * @throws UnsupportedError, ConfigError as samplerFrom does
 */
export async function runSchedulerCase(json: unknown): Promise<{ error: number; tolerance: number }> {
  const run = json as SchedulerCase;
  const sampler = samplerFrom(run.config);
  const space = new HostSpace();
  const vec = (values: number[]): HostVec => space.vec(values, run.shape[0]);
  const tolerance = HINT_FACTOR * run.tol_abs_hint;
  const errors: number[] = [];
  const compare = (got: ArrayLike<number>, want: ArrayLike<number>): void =>
    void errors.push(worstDifference(got, want));
  const addNoise = (original: number[], noise: number[], t: number): ArrayLike<number> =>
    (sampler.addNoise(vec(original), vec(noise), t).materialise() as HostVec).data;

  const timesteps = run.set_timesteps_kwargs?.timesteps;
  const choice = timesteps ? { timesteps } : { numInferenceSteps: run.num_inference_steps ?? undefined };
  const start = run.t_start ?? 0;
  if (worstDifference(sampler.timesteps(choice), run.timesteps) !== 0) errors.push(Infinity);
  for (const [t, want] of Object.entries(run.alphas_cumprod_at ?? {}))
    compare([sampler.schedule.alphasCumprod[Number(t)]], [want]);
  const forward = run.add_noise;
  if (forward) compare(addNoise(forward.original, forward.noise, forward.t), forward.out);
  if (run.img2img_original && run.img2img_noise)
    compare(addNoise(run.img2img_original, run.img2img_noise, run.timesteps[start]), run.initial_sample);

  const steps = sampler.timesteps(choice).length - start;
  if (steps !== run.steps.length) return { error: Infinity, tolerance };
  let draws: number[][] = [...(run.steps[0].noise ?? [])];
  const noise: NoiseSource = () => {
    const values = draws.shift();
    if (!values) errors.push(Infinity);
    return vec(values ?? run.initial_sample);
  };
  await sampler.sample({
    ...choice,
    ...solverOptions(run.step_kwargs ?? {}),
    start,
    x: vec(run.initial_sample),
    noise,
    denoiser: sampler.denoiser(toyNetwork(run.steps[0].model_output.length === 2 * run.initial_sample.length)),
    onStep: async ({ step, preview, state }) => {
      const want = run.steps[step - 1 - start];
      compare((await state()).x, want.sample);
      if (want.pred_original_sample) compare((preview() as HostVec).data, want.pred_original_sample);
      if (draws.length > 0) errors.push(Infinity);
      draws = [...(run.steps[step - start]?.noise ?? [])];
    },
  });
  return { error: Math.max(...errors), tolerance };
}
