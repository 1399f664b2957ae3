/**
 * A U-Net with its conditions as a denoiser: both halves of the guidance in one batch, or the conditional one alone.
 */
import { numel } from '../../engine/index.ts';
import type { ControlResiduals, UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import { channelJoin } from '../gpu/channelJoin.ts';
import type { ControlBranch } from './controlBranch.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { guidedDenoiser, outputParts, repeatedState, type ToldNetwork } from '../run/guidedDenoiser.ts';
import type { LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import type { RunConditions, StepConditions } from './conditions.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** What stays the same in all evaluations of a run. */
export interface SdRun {
  unet: UNet2DCondition;
  sampler: Sampler;
  /** Of the state. */
  shape: LatentShape;
  conditions: Pick<RunConditions, 'text' | 'both'>;
  control: ControlBranch | undefined;
  /** What the network is told at each step, for the part of the run in which ControlNets act. */
  steps: readonly number[];
  /** What the network sees in the channels behind the state, [B,C,h,w] each. */
  beside: readonly Vec[];
  onProgress: LoadPipelineOptions['onProgress'];
}

/** The denoiser of a run. @throws as {@link guidedDenoiser} */
export function sdDenoiser(space: GpuSpace, run: SdRun, options: TextToImageOptions): Denoiser {
  const { guidanceScale = 1, checkFinite } = options;
  const { unet, sampler, shape, conditions, control, steps, beside, onProgress } = run;
  const [batch, ...item] = shape;
  const seenItem = [unet.config.inChannels, item[1], item[2]];
  const join = beside.length > 0 ? channelJoin(space, batch, batch * numel(seenItem)) : undefined;
  const network: ToldNetwork<StepConditions> = async (v, timestep, given, signal) => {
    const { buffer } = space.contiguous(v);
    const parts = given.encoderHiddenStates.shape[0] / batch;
    const common = { timestep, signal, checkFinite, onProgress };
    const at = Math.max(0, steps.indexOf(timestep));
    const progress = [at / steps.length, (at + 1) / steps.length] as const;
    const state = repeatedState(buffer, shape, parts);
    const sample = join ? repeatedState(join([v, ...beside]), [batch, ...seenItem], parts) : state;
    const ask = async (controls?: ControlResiduals[]): Promise<Vec[]> =>
      outputParts(space, await unet.forward({ ...common, ...given, sample, controls }), batch);
    return control ? control.evaluate({ ...common, sample: state, progress, conditions: given }, ask) : ask();
  };
  const { text: alone, both } = conditions;
  return guidedDenoiser(sampler, network, { alone, both }, guidanceScale, options);
}
