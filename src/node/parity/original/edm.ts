/** Parity with NVlabs/edm: its networks seen as denoisers, and what its samplers make of them. */
import type { RawConfig } from '../../../loading/index.ts';
import { parsePythonJson } from '../../../loading/json.ts';
import { readEdmConfig } from '../../../models/edm/edmConfig.ts';
import { EdmNetwork, edmWeights } from '../../../models/edm/edmModel.ts';
import { edmDenoise, preconditioningOf } from '../../../pipelines/original/edmDenoiser.ts';
import { parameterise } from '../../../sampler/parameterisation/denoiser.ts';
import { generalSampler, type GeneralSamplerOptions } from '../../../sampler/edm/index.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { veLevel } from '../../../sampler/schedule/sigmas.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import { mergedWeights, type NetworkCase } from './weights.ts';

type Numbers = 'num_steps' | 'sigma_min' | 'sigma_max' | 'rho' | 'epsilon_s' | 'C_1' | 'C_2' | 'M' | 'alpha';
type Churn = 'S_churn' | 'S_min' | 'S_max' | 'S_noise';

interface EdmCaseConfig {
  net: Record<string, unknown> & { precond: string };
  sampler?: Partial<Record<Numbers | Churn, number>> &
    Pick<GeneralSamplerOptions, 'solver' | 'discretization' | 'schedule' | 'scaling'>;
}

interface EdmCaseFile {
  description: string;
  weights: { model: readonly string[] };
}

const CLASSES: Readonly<Record<string, string>> = {
  iddpm: 'iDDPMPrecond',
  vp: 'VPPrecond',
  ve: 'VEPrecond',
  edm: 'EDMPrecond',
};

/** The recordings' tiny networks were made with another width of heads than the 64 that the code has built in. */
const TINY_HEADS = 8;

async function withNetwork(
  c: NetworkCase,
  run: (recording: OriginalCase<EdmCaseConfig>, network: EdmNetwork) => Promise<void>,
): Promise<CaseResult> {
  const recording = await OriginalCase.open<EdmCaseConfig>(c.dir);
  const { description, weights } = parsePythonJson(await c.dir.text('config.json'), 'config.json') as EdmCaseFile;
  const { precond, ...net } = recording.config.net;
  const _class_name = CLASSES[precond] ?? precond;
  const plain: RawConfig = { _class_name, ...net };
  const heads = /channels_per_head changed from 64 to (\d+)/.exec(description)?.[1];
  const channels_per_head = heads ? Number(heads) : TINY_HEADS;
  const adm = readEdmConfig(plain).net.modelType === 'DhariwalUNet';
  const config: RawConfig = adm ? { ...plain, channels_per_head } : plain;
  const checkpoint = await mergedWeights(c, weights.model, edmWeights(readEdmConfig(config)));
  const network = await EdmNetwork.load(await c.device(), { config, checkpoint }, { dtype: c.dtype });
  try {
    await run(recording, network);
    return recording.result();
  } finally {
    network.dispose();
    await checkpoint.close();
  }
}

const rowsOf = (recording: OriginalCase<unknown>, key: string): Float32Array | undefined =>
  recording.has(key) ? Float32Array.from(recording.tensor(key).data) : undefined;

/** One call: what the network sees, is told and answers, and the denoised picture. */
export function runEdmForward(c: NetworkCase): Promise<CaseResult> {
  return withNetwork(c, async (recording, network) => {
    const { data, shape } = recording.tensor('in.x');
    const sigma = [...recording.tensor('in.sigma').data];
    const found = await edmDenoise(network, {
      sample: { data: Float32Array.from(data), shape },
      sigma: sigma.length === shape[0] ? sigma : sigma[0],
      classLabels: rowsOf(recording, 'in.class_labels'),
      augmentLabels: rowsOf(recording, 'in.augment_labels'),
    });
    recording.compare('net_in', found.input);
    recording.compare('c_noise', found.noiseLabels.slice(0, recording.tensor('out.c_noise').data.length));
    recording.compare('F_x', found.output);
    recording.compare('D_x', found.denoised);
    if (recording.has('out.round_sigma')) {
      const { roundSigma } = preconditioningOf(network);
      recording.compare('round_sigma', sigma.map(roundSigma));
    }
    if (recording.has('out.u')) {
      const every = (network.levels.length - 1) / (recording.tensor('out.u').data.length - 1);
      recording.compare(
        'u',
        network.levels.filter((_, i) => i % every === 0),
      );
    }
  });
}

/** `edm_sampler` and `ablation_sampler`: every input of the network, every level, and the end; state in f64. */
export function runEdmSampler(c: NetworkCase): Promise<CaseResult> {
  return withNetwork(c, async (recording, network) => {
    const o = recording.config.sampler ?? {};
    const { data, shape } = recording.tensor('in.latents');
    const space = new HostSpace('f64');
    const classLabels = rowsOf(recording, 'in.class_labels');
    const seen: number[] = [];
    const sigmas: number[] = [];
    const denoiser = parameterise(async (x, sigma) => {
      const single = Float32Array.from((x as HostVec).data);
      for (const v of single) seen.push(v);
      sigmas.push(sigma);
      const { denoised } = await edmDenoise(network, { sample: { data: single, shape }, sigma, classLabels });
      return space.vec(denoised, shape[0]);
    }, 'sample');
    let next = 0;
    const { sigmaMin, sigmaMax, roundSigma } = preconditioningOf(network);
    const final = await generalSampler({
      x: space.vec(data, shape[0]),
      denoiser,
      noise: () => space.vec(recording.item('draws', next++), shape[0]),
      network: { sigmaMin, sigmaMax, roundSigma, level: (sigma) => veLevel(sigma, sigma) },
      numInferenceSteps: o.num_steps ?? 18,
      from: o.sigma_max,
      to: o.sigma_min,
      rho: o.rho,
      solver: o.solver,
      discretization: o.discretization,
      schedule: o.schedule,
      scaling: o.scaling,
      epsilonS: o.epsilon_s,
      c1: o.C_1,
      c2: o.C_2,
      m: o.M,
      alpha: o.alpha,
      sChurn: o.S_churn,
      sMin: o.S_min,
      sMax: o.S_max,
      sNoise: o.S_noise,
    });
    recording.compare('net_sigma', sigmas);
    recording.compare('net_x', seen);
    recording.compare('final', (final as HostVec).data);
    recording.same('nfe', [sigmas.length]);
  });
}
