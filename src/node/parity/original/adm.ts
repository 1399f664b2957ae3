/** Parity with guided-diffusion: its networks, and what its samplers make of them. */
import type { RawConfig } from '../../../loading/index.ts';
import type { AdmUNet } from '../../../models/adm/admModel.ts';
import {
  classifierGuided,
  classifierMeanShift,
  type LogProbGradient,
} from '../../../sampler/guidance/classifierGuidance.ts';
import { clipped, consistentEps } from '../../../sampler/parameterisation/clip.ts';
import { ddim } from '../../../sampler/solvers/ddim.ts';
import { ddpm, type VarianceType } from '../../../sampler/solvers/ddpm.ts';
import { parameterise, type Denoiser, type Network } from '../../../sampler/parameterisation/denoiser.ts';
import { HostSpace, type HostVec } from '../../../sampler/hostVec.ts';
import { runSolver } from '../../../sampler/loop.ts';
import type { Solver } from '../../../sampler/solver.ts';
import { conditionsOf, pictureOf, weightFiles, withAdm } from './admCase.ts';
import { withClassifier } from './classifier.ts';
import { diffusionOf, type DiffusionConfig } from './gaussianDiffusion.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import type { NetworkCase } from './weights.ts';

const classOf = (recording: OriginalCase<unknown>): string =>
  recording.has('in.low_res') ? 'SuperResModel' : 'UNetModel';

/** One call of `UNetModel` or `SuperResModel`, with what it computes on the way. */
export async function runAdmForward(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ model: RawConfig }>(c.dir);
  const config = { ...recording.config.model, _class_name: classOf(recording) };
  await withAdm(c, config, (await weightFiles(c)).model, async (network) => {
    const outputs = await network.trace({
      sample: pictureOf(recording, 'in.x'),
      timestep: [...recording.tensor('in.t').data],
      ...conditionsOf(recording),
    });
    for (const [name, output] of Object.entries(outputs)) {
      const key = name === 'out' ? 'model' : name;
      if (recording.has(`out.${key}`)) recording.compare(key, await output.read());
    }
  });
  return recording.result();
}

interface SampleConfig {
  model: RawConfig;
  classifier?: RawConfig;
  classifier_scale?: number;
  method: 'p_sample' | 'ddim_sample';
  eta?: number;
  clip_denoised: boolean;
  diffusion: DiffusionConfig;
}

/** `p_sample_loop` and `ddim_sample_loop`, with or without a classifier: every state and picture, and the end. */
export async function runAdmSample(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<SampleConfig>(c.dir);
  const files = await weightFiles(c);
  const { model, classifier } = recording.config;
  await withAdm(c, { ...model, _class_name: classOf(recording) }, files.model, async (network) => {
    if (!classifier) return sample(recording, network);
    const config = { ...classifier, _class_name: 'EncoderUNetModel' };
    await withClassifier(c, config, files.classifier, (judge) => {
      const classes = [...recording.tensor('in.y').data];
      const scale = recording.config.classifier_scale ?? 1;
      return sample(recording, network, async (x, { timestep }) => {
        const { data, batch, space } = x as HostVec;
        const { shape } = recording.tensor('in.noise');
        const picture = { data: Float32Array.from(data), shape };
        const { gradient } = await judge.gradient({ sample: picture, timestep, classLabels: classes });
        return space.vec(
          (await gradient.read()).map((g) => g * scale),
          batch,
        );
      });
    });
  });
  return recording.result();
}

async function sample(
  recording: OriginalCase<SampleConfig>,
  network: AdmUNet,
  gradient?: LogProbGradient,
): Promise<void> {
  const { method, eta = 0, clip_denoised, diffusion } = recording.config;
  const { timesteps, transitions, varianceType, prediction } = diffusionOf(diffusion);
  const { data, shape } = recording.tensor('in.noise');
  const [batch] = shape;
  const space = new HostSpace('f64');
  const conditions = conditionsOf(recording);
  const told: number[] = [];
  const ask: Network = async (x, timestep) => {
    told.push(timestep);
    const picture = { data: Float32Array.from((x as HostVec).data), shape };
    return space.vec(await (await network.forward({ sample: picture, timestep, ...conditions })).read(), batch);
  };
  const gradients: number[] = [];
  const noted: LogProbGradient = async (x, level) => {
    const g = (await gradient!(x, level)) as HostVec;
    for (const v of g.data) gradients.push(v);
    return g;
  };
  const plain = parameterise(ask, prediction);
  const { denoiser, solver } = methodOf(clip_denoised ? clipped(plain) : plain, {
    method,
    eta,
    varianceType,
    gradient: gradient && noted,
  });
  const [states, pictures]: [number[], number[]] = [[], []];
  let step = 0; // a draw is taken at every step, needed or not
  const final = await runSolver({
    x: space.vec(data, batch),
    denoiser,
    solver,
    transitions,
    noise: () => space.vec(recording.item('draws', step), batch),
    onStep: async ({ state, preview }) => {
      step++;
      states.push(...(await state()).x);
      pictures.push(...(preview() as HostVec).data);
    },
  });
  recording.same('timestep_map', timesteps);
  recording.compare('model_t', told, 'F32');
  recording.compare('sample', states);
  recording.compare('pred_xstart', pictures);
  recording.compare('final', (final as HostVec).data);
  if (gradient) recording.compare('cond_grad', gradients);
}

/** What is asked and how steps are made. The scale is in the gradient already. */
function methodOf(
  denoiser: Denoiser,
  o: Pick<SampleConfig, 'method'> & {
    eta: number;
    varianceType: VarianceType;
    gradient?: LogProbGradient;
  },
): { denoiser: Denoiser; solver: Solver } {
  const { gradient, varianceType } = o;
  if (o.method === 'ddim_sample') {
    const exact = consistentEps(denoiser);
    return { denoiser: gradient ? classifierGuided(exact, gradient, 1) : exact, solver: ddim({ eta: o.eta }) };
  }
  const solver = ddpm({ varianceType });
  return { denoiser, solver: gradient ? classifierMeanShift(solver, { gradient, scale: 1, varianceType }) : solver };
}
