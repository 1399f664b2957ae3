/** Parity of samplers: a denoising run recorded from the reference library, replayed on the host with its own noise. */
import { HostSpace, type HostVec } from '../../sampler/hostVec.ts';
import { samplerFrom, type SolverOptions, type StepChoice } from '../../sampler/diffusers/samplerFrom.ts';
import type { Network } from '../../sampler/parameterisation/denoiser.ts';
import type { NoiseSource } from '../../sampler/solver.ts';
import { HINT_FACTOR } from './cases.ts';
import { LinearForm } from '../../sampler/vec.ts';
import { worstDifference } from './torchRandnCase.ts';

/** One file of `schedulers/`; the manifest beside it describes the fields. */
interface SchedulerCase {
  config: Record<string, unknown>;
  num_inference_steps: number | null;
  set_timesteps_kwargs?: {
    timesteps?: number[];
    sigmas?: number[];
    mu?: number;
    jump_length?: number;
    jump_n_sample?: number;
    original_inference_steps?: number;
    strength?: number;
  };
  step_kwargs?: Record<string, unknown>;
  /** Recorded steps to one of the steps that t_start counts. */
  order?: number;
  shape: number[];
  timesteps: number[];
  t_start?: number;
  alphas_cumprod_at?: Record<string, number>;
  init_noise_sigma?: number;
  initial_sample: number[];
  tol_abs_hint: number;
  add_noise?: { original: number[]; noise: number[]; t: number; out: number[] };
  img2img_original?: number[];
  img2img_noise?: number[];
  original_image?: number[];
  mask?: number[];
  steps: RecordedStep[];
}

/** A call of the scheduler: for most of them one call of the network. */
interface RecordedStep {
  t: number;
  op?: string;
  sigma?: number;
  sigma_hat?: number;
  sigma_prev?: number;
  model_t?: number;
  model_output: number[];
  noise?: number[][];
  sample: number[];
  pred_original_sample?: number[];
}

/** A handful of roundings of f32, in a logarithm and its inverse: relative, and of timesteps below 10 absolute. */
const TIMESTEP_ROUNDING = 1e-5;

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

/** Step arguments that the solver must know, by its names; another one would change the result unseen. */
const STEP_OPTIONS: Readonly<Record<string, keyof SolverOptions>> = {
  eta: 'eta',
  use_clipped_model_output: 'useClippedModelOutput',
  s_churn: 'sChurn',
  s_tmin: 'sTmin',
  s_tmax: 'sTmax',
  s_noise: 'sNoise',
};

/** Classes whose step takes options that it never reads. */
const UNREAD: Readonly<Record<string, readonly string[]>> = {
  FlowMatchEulerDiscreteScheduler: ['s_churn', 's_tmin', 's_tmax', 's_noise'],
};

function solverOptions({ config, step_kwargs = {} }: SchedulerCase): SolverOptions {
  const unread = UNREAD[String(config['_class_name'])] ?? [];
  const kwargs = Object.fromEntries(Object.entries(step_kwargs).filter(([name]) => !unread.includes(name)));
  const known = Object.entries(kwargs).map(([name, value]) => {
    if (!(name in STEP_OPTIONS))
      throw new Error(`scheduler case: expected step_kwargs ${Object.keys(STEP_OPTIONS).join(', ')}, got ${name}`);
    return [STEP_OPTIONS[name], value] as const;
  });
  return Object.fromEntries(known) as SolverOptions;
}

/** The steps of a case. */
function stepChoice(run: SchedulerCase): StepChoice {
  const { timesteps, sigmas, mu, jump_length, jump_n_sample, original_inference_steps, strength, ...rest } =
    run.set_timesteps_kwargs ?? {};
  if (Object.keys(rest).length > 0)
    throw new Error(`scheduler case: expected other set_timesteps_kwargs, got ${Object.keys(rest)}`);
  const jumps = { jumpLength: jump_length, jumpNSample: jump_n_sample };
  const distilled = { originalInferenceSteps: original_inference_steps, strength };
  const numInferenceSteps = run.num_inference_steps ?? undefined;
  return { timesteps, sigmas, mu, ...jumps, ...distilled, start: run.t_start ?? 0, numInferenceSteps };
}

/** How many recorded steps one of the solver's is, for the classes whose steps are not calls of the network. */
function recordedPerStep({ config }: SchedulerCase): number | undefined {
  switch (config['_class_name']) {
    case 'KarrasVeScheduler':
    case 'RePaintScheduler':
    case 'ScoreSdeVpScheduler':
      return 1;
    case 'ScoreSdeVeScheduler':
      return 1 + (config['correct_steps'] as number);
    default:
      return undefined;
  }
}

/** What the network was told, call after call. */
function recordedTimesteps(run: SchedulerCase): number[] {
  if (recordedPerStep(run) === undefined) return run.timesteps;
  return run.steps
    .filter(({ op }) => op !== 'undo_step')
    .flatMap(({ t, sigma, sigma_hat, sigma_prev, model_t }) =>
      sigma_hat === undefined ? [model_t ?? sigma ?? t] : sigma_prev ? [sigma_hat, sigma_prev] : [sigma_hat],
    );
}

/** The stand-in as recorded: for a variance-exploding SDE it was the noise, and the network gives the score. */
function networkOf(run: SchedulerCase): Network {
  const toy = toyNetwork(run.steps[0].model_output.length === 2 * run.initial_sample.length);
  if (run.config['_class_name'] !== 'ScoreSdeVeScheduler') return toy;
  return async (x, t) =>
    LinearForm.of(await toy(x, t))
      .scale(-1 / t)
      .materialise();
}

/** Whole timesteps must be the same, which the rounding allows for; others were found in f32, from a table in f32. */
function isTimestep(got: number, want: number): boolean {
  return Math.abs(got - want) <= TIMESTEP_ROUNDING * Math.max(10, Math.abs(want));
}

/**
 * Replays a case: timesteps, then ᾱ, the forward process and the state and x₀ after every step. A recorded step is one
 * call of the network; a solver that makes several is compared where it ends.
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

  const choice = stepChoice(run);
  const timesteps = sampler.timesteps(choice);
  const addNoise = (original: number[], noise: number[], recorded: number): ArrayLike<number> => {
    const own = sampler.transitions(choice).find(({ from }) => isTimestep(from.timestep, recorded))?.from;
    // Half-way through a step of KDPM2 the reference counts as at its end.
    const half = sampler
      .transitions(choice)
      .find(({ stages = [] }) => stages.some(({ timestep }) => isTimestep(timestep, recorded)));
    const t =
      own?.timestep ?? (sampler.config.className.startsWith('KDPM2') ? half?.to.timestep : undefined) ?? recorded;
    return (sampler.addNoise(vec(original), vec(noise), t, choice).materialise() as HostVec).data;
  };
  const start = (run.t_start ?? 0) * (run.order ?? 1);
  if (run.init_noise_sigma !== undefined) compare([sampler.initNoiseSigma(choice) / run.init_noise_sigma], [1]);
  for (const [t, want] of Object.entries(run.alphas_cumprod_at ?? {}))
    compare([sampler.schedule.alphasCumprod[Number(t)]], [want]);
  const forward = run.add_noise;
  if (forward) compare(addNoise(forward.original, forward.noise, forward.t), forward.out);
  if (run.img2img_original && run.img2img_noise)
    compare(addNoise(run.img2img_original, run.img2img_noise, run.timesteps[start]), run.initial_sample);

  const told = run.timesteps.slice(0, start);
  const network = networkOf(run);
  const perStep = recordedPerStep(run);
  const draws = run.steps.flatMap((step) => step.noise ?? []);
  let drawn = 0;
  const noise: NoiseSource = () => vec(draws[drawn++] ?? run.initial_sample);
  if (timesteps.length - sampler.start(choice) > run.steps.length) return { error: Infinity, tolerance };
  await sampler.sample({
    ...choice,
    ...solverOptions(run),
    ...(run.mask && run.original_image && { mask: vec(run.mask), originalImage: vec(run.original_image) }),
    x: vec(run.initial_sample),
    noise,
    denoiser: sampler.denoiser((x, t) => {
      told.push(t);
      return network(x, t);
    }),
    onStep: async ({ step, preview, state }) => {
      const done = perStep ? perStep * step : told.length - start;
      const want = run.steps[done - 1];
      if (!want) return void errors.push(Infinity);
      compare((await state()).x, want.sample);
      if (want.pred_original_sample) compare((preview() as HostVec).data, want.pred_original_sample);
      const drawsSoFar = run.steps.slice(0, done).reduce((sum, { noise: z = [] }) => sum + z.length, 0);
      if (drawn !== drawsSoFar) errors.push(Infinity);
    },
  });
  const want = recordedTimesteps(run);
  if (told.length !== want.length || !told.every((t, i) => isTimestep(t, want[i]))) errors.push(Infinity);
  return { error: Math.max(...errors), tolerance };
}
