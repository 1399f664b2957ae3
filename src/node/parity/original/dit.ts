/** Parity with the authors' DiT: the network, its guidance, and what their samplers make of it. */
import type { RawConfig } from '../../../loading/index.ts';
import { weightsOf } from '../../../models/loadedModel.ts';
import type { TensorInput } from '../../../models/index.ts';
import { ditKeys } from '../../../models/transformers/ditKeys.ts';
import { DiT, ditDefinition } from '../../../models/transformers/ditModel.ts';
import { readDiTConfig } from '../../../models/transformers/ditConfig.ts';
import { clipped, consistentEps } from '../../../sampler/parameterisation/clip.ts';
import { ddim } from '../../../sampler/solvers/ddim.ts';
import { ddpm } from '../../../sampler/solvers/ddpm.ts';
import { parameterise, type Denoiser, type Network } from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { posteriorTables } from '../../../sampler/iddpm/respacing.ts';
import { runSolver } from '../../../sampler/loop.ts';
import type { Solver, Transition } from '../../../sampler/solver.ts';
import { diffusionOf, type Diffusion } from './gaussianDiffusion.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { mergedWeights, type NetworkCase } from './weights.ts';

interface DiTCaseConfig {
  model: RawConfig & { learn_sigma?: boolean };
  /** 0 is a plain call. */
  cfg_scale?: number;
  timestep_respacing?: string | number[];
  noise_schedule?: 'linear' | 'squaredcos_cap_v2';
  diffusion_steps?: number;
  learn_sigma?: boolean;
  sigma_small?: boolean;
  predict_xstart?: boolean;
  clip_denoised?: boolean;
  eta?: number;
}

type Recorded = OriginalCase<DiTCaseConfig>;

/** Opens the network of a case, and lets it go when the work is done. */
async function withDiT(c: NetworkCase, run: (recording: Recorded, network: DiT) => Promise<void>): Promise<CaseResult> {
  const recording = await OriginalCase.open<DiTCaseConfig>(c.dir);
  const { weights } = (await c.dir.json('config.json')) as { weights: { model: string[] } };
  const config = { ...recording.config.model, _class_name: 'DiT' };
  const stored = await mergedWeights(c, weights.model, storedNames(weightsOf(ditDefinition, readDiTConfig(config))));
  const network = await DiT.load(await c.device(), { config, checkpoint: stored }, { dtype: c.dtype });
  try {
    await run(recording, network);
  } finally {
    network.dispose();
    await stored.close();
  }
  return recording.result();
}

/** Shapes by the names that files use: ours give them back through the renaming. */
function storedNames(wanted: ReadonlyMap<string, readonly number[]>): ReadonlyMap<string, readonly number[]> {
  return {
    get: (key: string) => wanted.get(ditKeys(key) as string),
  } as ReadonlyMap<string, readonly number[]>;
}

function tensor(recording: Recorded, key: string): TensorInput {
  const { data, shape } = recording.tensor(key);
  return { data: Float32Array.from(data), shape };
}

/** `DiT.forward`, with what it computes on the way. */
export function runDiTForward(c: NetworkCase): Promise<CaseResult> {
  return withDiT(c, async (recording, network) => {
    const outputs = await network.forwardTraced({
      sample: tensor(recording, 'in.x'),
      timestep: [...recording.tensor('in.t').data],
      classLabels: [...recording.tensor('in.y').data],
    });
    for (const [name, output] of Object.entries(outputs)) {
      const key = name === 'out' ? 'model' : name;
      if (recording.has(`out.${key}`)) recording.compare(key, await output.read());
    }
  });
}

/** `DiT.forward_with_cfg`. */
export function runDiTGuided(c: NetworkCase): Promise<CaseResult> {
  return withDiT(c, async (recording, network) => {
    const ask = networkOf(recording, network, recording.tensor('in.x').shape);
    const { data, shape } = recording.tensor('in.x');
    const space = new HostSpace('f64');
    // One timestep for all, or one for each of the first half: the network takes them per item.
    const timestep = [...recording.tensor('in.t').data];
    const out = await ask(space.vec(data, shape[0]), timestep);
    recording.compare('model', out);
  });
}

type Ask = (x: HostVec, timestep: number | readonly number[]) => Promise<Float32Array>;

/** The network as the case calls it: plain, or guided with the first half's latents in both halves. */
function networkOf(recording: Recorded, network: DiT, shape: readonly number[]): Ask {
  const labels = [...recording.tensor('in.y').data];
  const { cfg_scale: guidanceScale = 0 } = recording.config;
  const [B, ...item] = shape;
  return async (x, timestep) => {
    const data = Float32Array.from(x.data);
    if (guidanceScale === 0) {
      return (await network.forward({ sample: { data, shape }, timestep, classLabels: labels })).read();
    }
    const half = B / 2;
    const sample = { data: data.slice(0, data.length / 2), shape: [half, ...item] };
    const times = typeof timestep === 'number' ? timestep : timestep.slice(0, half);
    const [classLabels, uncondLabels] = [labels.slice(0, half), labels.slice(half)];
    const out = await network.forwardGuided({ sample, timestep: times, classLabels, uncondLabels, guidanceScale });
    return out.read();
  };
}

function processOf({ config }: Recorded): Diffusion {
  return diffusionOf({
    steps: config.diffusion_steps ?? 1000,
    noise_schedule: config.noise_schedule === 'squaredcos_cap_v2' ? 'cosine' : 'linear',
    timestep_respacing: config.timestep_respacing,
    learn_sigma: config.learn_sigma ?? config.model.learn_sigma ?? true,
    sigma_small: config.sigma_small,
    predict_xstart: config.predict_xstart,
  });
}

/** What the network says of x, clipped or not. */
function denoiserOf(recording: Recorded, network: DiT, { prediction }: Diffusion, shape: readonly number[]): Denoiser {
  const ask = networkOf(recording, network, shape);
  const answer: Network = async (x, timestep) => {
    const { space, batch } = x as HostVec;
    return space.vec(await ask(x as HostVec, timestep), batch);
  };
  const plain = parameterise(answer, prediction);
  return (recording.config.clip_denoised ?? true) ? clipped(plain) : plain;
}

/** `p_sample_loop`. */
export const runDiTDdpm = (c: NetworkCase): Promise<CaseResult> =>
  withDiT(c, (recording, network) => sample(recording, network, 'ddpm'));

/** `ddim_sample_loop`. */
export const runDiTDdim = (c: NetworkCase): Promise<CaseResult> =>
  withDiT(c, (recording, network) => sample(recording, network, 'ddim'));

async function sample(recording: Recorded, network: DiT, method: 'ddpm' | 'ddim'): Promise<void> {
  const process = processOf(recording);
  const { data, shape } = recording.tensor('in.noise');
  const denoiser = denoiserOf(recording, network, process, shape);
  const x = new HostSpace('f64').vec(data, shape[0]);
  const { varianceType, transitions, timesteps, schedule } = process;
  const { eta = 0 } = recording.config;
  const states: number[] = [];
  const pictures: number[] = [];
  let step = 0; // a draw is taken at every step, needed or not
  const final = await runSolver({
    x,
    denoiser: method === 'ddim' ? consistentEps(denoiser) : denoiser,
    solver: method === 'ddim' ? ddim({ eta }) : ddpm({ varianceType }),
    transitions,
    noise: () => x.space.vec(recording.item('draws', step), x.batch),
    onStep: async ({ state, preview }) => {
      step++;
      states.push(...(await state()).x);
      pictures.push(...(preview() as HostVec).data);
    },
  });
  recording.same('timestep_map', timesteps);
  recording.compare('betas', schedule.betas);
  recording.compare('posterior_log_variance_clipped', posteriorTables(schedule).logVarianceClipped);
  recording.compare('sample', states);
  recording.compare('pred_xstart', pictures);
  recording.compare('final', (final as HostVec).data);
  await compareMeanVariance(recording, process, denoiser, x);
}

/** `p_mean_variance` at one level in the middle. */
async function compareMeanVariance(
  recording: Recorded,
  { schedule, transitions, varianceType }: Diffusion,
  denoiser: Denoiser,
  x: HostVec,
): Promise<void> {
  if (!recording.has('out.pmv.t_index')) return;
  const t = Math.floor(schedule.length / 2);
  recording.same('pmv.t_index', Array<number>(x.batch).fill(t));
  const { x0, variance } = await denoiser(x, transitions[schedule.length - 1 - t].from);
  const picture = (x0.materialise() as HostVec).data;
  const { meanX0, meanXt, logVarianceClipped, variance: small } = posteriorTables(schedule);
  recording.compare(
    'pmv.mean',
    picture.map((v, i) => meanX0[t] * v + meanXt[t] * x.data[i]),
  );
  const large = t === 0 ? small[1] : schedule.betas[t];
  const fixed = varianceType === 'fixed_small' ? logVarianceClipped[t] : Math.log(large);
  const log = (u: number): number => {
    const fraction = (u + 1) / 2;
    return fraction * Math.log(schedule.betas[t]) + (1 - fraction) * logVarianceClipped[t];
  };
  recording.compare('pmv.log_variance', variance ? (variance as HostVec).data.map(log) : picture.map(() => fixed));
  recording.compare('pmv.pred_xstart', picture);
}

/** `ddim_reverse_sample` from the first level to the last: DDIM towards noise. */
export function runDiTInversion(c: NetworkCase): Promise<CaseResult> {
  return withDiT(c, async (recording, network) => {
    const process = processOf(recording);
    const { data, shape } = recording.tensor('in.x0');
    const rising = process.transitions.map(({ from }) => from).reverse();
    const transitions = rising.slice(0, -1).map((from, i): Transition => ({ from, to: rising[i + 1] }));
    const solver: Solver = ddim();
    const states: number[] = [];
    await runSolver({
      x: new HostSpace('f64').vec(data, shape[0]),
      denoiser: consistentEps(denoiserOf(recording, network, process, shape)),
      solver,
      transitions,
      onStep: async ({ state }) => void states.push(...(await state()).x),
    });
    recording.compare('sample', states);
  });
}
