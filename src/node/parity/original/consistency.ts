/** Parity with consistency_models: its U-Net seen as a denoiser, and what its samplers make of it. */
import type { RawConfig } from '../../../loading/index.ts';
import type { AdmUNet } from '../../../models/adm/admModel.ts';
import { clipped, consistentEps } from '../../../sampler/parameterisation/clip.ts';
import { gridOf, planOf, type ConsistencyPlan } from '../../../pipelines/original/consistencySampler.ts';
import type { ConsistencySampler } from '../../../pipelines/original/options.ts';
import { consistencyTime } from '../../../sampler/consistency/consistencySamplers.ts';
import { parameterise, samplePrediction, type Denoiser } from '../../../sampler/parameterisation/denoiser.ts';
import { consistencyScalings, edmScalings } from '../../../sampler/edm/index.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { runSolver } from '../../../sampler/loop.ts';
import { conditionsOf, weightFiles, withAdm } from './admCase.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import type { NetworkCase } from './weights.ts';

/** What `karras_sample` is told. */
interface SampleOptions {
  sampler: ConsistencySampler;
  steps: number;
  clip_denoised?: boolean;
  sigma_min?: number;
  sigma_max?: number;
  rho?: number;
  s_churn?: number;
  s_tmin?: number;
  s_tmax?: number;
  s_noise?: number;
  ts?: readonly number[];
}

interface ConsistencyConfig {
  sigma_data: number;
  sigma_max: number;
  sigma_min: number;
  net: RawConfig;
  distillation: boolean;
  sample?: SampleOptions;
}

type Case = OriginalCase<ConsistencyConfig>;

/** Opens the network of a case; its attention is what consistency_models has by default. */
async function withNetwork(c: NetworkCase, run: (recording: Case, network: AdmUNet) => Promise<void>) {
  const recording = await OriginalCase.open<ConsistencyConfig>(c.dir);
  const config = { attention_type: 'flash', ...recording.config.net, _class_name: 'UNetModel' };
  await withAdm(c, config, (await weightFiles(c)).model, (network) => run(recording, network));
  return recording.result();
}

/** `KarrasDenoiser.denoise`: what the network answers, and the picture; sigma per item. */
async function denoised(
  { config }: Case,
  network: AdmUNet,
  x: ArrayLike<number>,
  shape: readonly number[],
  sigmas: readonly number[],
  classLabels: readonly number[] | undefined,
): Promise<{ output: Float32Array; picture: Float64Array }> {
  const { sigma_data, sigma_min, distillation } = config;
  const scalings = sigmas.map((sigma) =>
    distillation ? consistencyScalings(sigma, sigma_data, sigma_min) : edmScalings(sigma, sigma_data),
  );
  const size = x.length / shape[0];
  const at = (i: number) => scalings[Math.floor(i / size)];
  const data = Float32Array.from(x, (v, i) => at(i).cIn * v);
  const timestep = sigmas.map(consistencyTime);
  const output = await (await network.forward({ sample: { data, shape }, timestep, classLabels })).read();
  return { output, picture: Float64Array.from(x, (v, i) => at(i).cSkip * v + at(i).cOut * output[i]) };
}

/** One call of the denoiser. */
export function runConsistencyDenoise(c: NetworkCase): Promise<CaseResult> {
  return withNetwork(c, async (recording, network) => {
    const { data, shape } = recording.tensor('in.x');
    const { classLabels } = conditionsOf(recording);
    const sigmas = [...recording.tensor('in.sigma').data];
    const { output, picture } = await denoised(recording, network, data, shape, sigmas, classLabels);
    recording.compare('model_output', output);
    recording.compare('denoised', picture);
  });
}

/** What the pipeline makes of the same options. */
function planOfCase(o: SampleOptions): ConsistencyPlan {
  const { sigma_min: sigmaMin = 0.002, sigma_max: sigmaMax = 80 } = o;
  const grid = gridOf({ numInferenceSteps: o.steps, rho: o.rho }, { sigmaMin, sigmaMax });
  const churn = { sChurn: o.s_churn, sTmin: o.s_tmin, sTmax: o.s_tmax, sNoise: o.s_noise };
  return planOf(o.sampler, grid, { ...churn, ts: o.ts });
}

/** `karras_sample`: every input, level and answer of the denoiser, and the end. */
export function runConsistencySample(c: NetworkCase): Promise<CaseResult> {
  return withNetwork(c, async (recording, network) => {
    const options = recording.config.sample!;
    const { clip_denoised = true, sigma_max = 80 } = options;
    const { shape } = recording.tensor('draws');
    const [, ...picture] = shape;
    const space = new HostSpace('f64');
    const { classLabels } = conditionsOf(recording);
    const [seen, levels, answers]: [number[], number[], number[]] = [[], [], []];
    const ask: Denoiser = parameterise(async (x, sigma) => {
      const { data } = x as HostVec;
      const sigmas = Array<number>(picture[0]).fill(Math.fround(sigma));
      const found = await denoised(recording, network, data, picture, sigmas, classLabels);
      for (const v of data) seen.push(v);
      for (const v of found.picture) answers.push(v);
      levels.push(sigma);
      return space.vec(found.picture, picture[0]);
    }, samplePrediction);
    const { transitions, solver } = planOfCase(options);
    let step = 0; // a draw is taken at every step, needed or not; the first was the start
    const final = await runSolver({
      x: space.vec(
        recording.item('draws', 0).map((v) => v * sigma_max),
        picture[0],
      ),
      denoiser: clip_denoised ? consistentEps(clipped(ask)) : ask,
      solver,
      transitions,
      noise: () => space.vec(recording.item('draws', 1 + step), picture[0]),
      onStep: () => void step++,
    });
    recording.compare('den_sigma', levels, 'F32');
    recording.compare('den_x', seen);
    recording.compare('den_out', answers);
    recording.compare(
      'final',
      (final as HostVec).data.map((v) => Math.min(Math.max(v, -1), 1)),
    );
  });
}
