/** Parity with Improved DDPM's bound and losses over a network. */
import type { RawConfig } from '../../../loading/index.ts';
import type { AdmUNet } from '../../../models/adm/admModel.ts';
import {
  trainingLosses,
  variationalBound,
  type BoundLoss,
  type BoundNetwork,
} from '../../../sampler/iddpm/variationalBound.ts';
import { conditionsOf, weightFiles, withAdm } from './admCase.ts';
import { diffusionOf, type Diffusion, type DiffusionConfig } from './gaussianDiffusion.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import type { NetworkCase } from './weights.ts';

interface BoundConfig {
  model: RawConfig;
  clip_denoised: boolean;
  diffusion: DiffusionConfig;
}

interface LossConfig {
  model: RawConfig;
  variants: Readonly<Record<string, DiffusionConfig>>;
}

async function withNetwork<Config extends { model: RawConfig }>(
  c: NetworkCase,
  run: (recording: OriginalCase<Config>, network: AdmUNet) => Promise<void>,
): Promise<CaseResult> {
  const recording = await OriginalCase.open<Config>(c.dir);
  const config = { ...recording.config.model, _class_name: 'UNetModel' };
  await withAdm(c, config, (await weightFiles(c)).model, (network) => run(recording, network));
  return recording.result();
}

/** The network told what it would be told at each item's step. */
function asked(recording: OriginalCase<unknown>, network: AdmUNet, { modelTimesteps }: Diffusion): BoundNetwork {
  const { shape } = recording.tensor('in.x0');
  const { classLabels } = conditionsOf(recording);
  return async (x, steps) => {
    const sample = { data: Float32Array.from(x), shape };
    const timestep = steps.map((i) => modelTimesteps[i]);
    return (await network.forward({ sample, timestep, classLabels })).read();
  };
}

/** `calc_bpd_loop`: every term, the prior, and the sum. */
export function runIddpmBound(c: NetworkCase): Promise<CaseResult> {
  return withNetwork<BoundConfig>(c, async (recording, network) => {
    const { clip_denoised: clip, diffusion } = recording.config;
    const process = diffusionOf(diffusion);
    const { data: x0, shape } = recording.tensor('in.x0');
    let next = 0;
    const bound = await variationalBound({
      ...process,
      precision: 'f32',
      x0,
      batch: shape[0],
      clip,
      network: asked(recording, network, process),
      noise: () => recording.item('draws', next++),
    });
    const rows = (columns: Float64Array[]): number[] =>
      Array.from({ length: shape[0] }, (_, b) => columns.map((column) => column[b])).flat();
    recording.compare('vb', rows(bound.terms));
    recording.compare('mse', rows(bound.epsMse));
    recording.compare('xstart_mse', rows(bound.x0Mse));
    recording.compare('prior_bpd', bound.prior, 'F32_SUM');
    recording.compare('total_bpd', bound.total);
  });
}

const lossOf = ({ use_kl, rescale_learned_sigmas }: DiffusionConfig): BoundLoss =>
  use_kl ? 'rescaled_kl' : rescale_learned_sigmas ? 'rescaled_mse' : 'mse';

/** `training_losses` of every variant. */
export function runIddpmLosses(c: NetworkCase): Promise<CaseResult> {
  return withNetwork<LossConfig>(c, async (recording, network) => {
    const steps = [...recording.tensor('in.t').data];
    const [x0, noise] = [recording.tensor('in.x0').data, recording.tensor('in.noise').data];
    for (const [name, diffusion] of Object.entries(recording.config.variants)) {
      const process = diffusionOf(diffusion);
      const losses = await trainingLosses(
        { ...process, precision: 'f32', loss: lossOf(diffusion), network: asked(recording, network, process) },
        x0,
        noise,
        steps,
      );
      for (const [key, values] of Object.entries(losses))
        if (recording.has(`out.${name}.${key}`)) recording.compare(`${name}.${key}`, values as Float64Array);
    }
  });
}
