/** A U-Net with its conditions as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
import { numel } from '../../engine/index.ts';
import type { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import { guided } from '../../sampler/guidance/guidance.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import { channelJoin } from '../gpu/channelJoin.ts';
import type { ControlBranch } from './controlBranch.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
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

/** The denoiser of a run. @throws as {@link guided} for options out of range */
export function sdDenoiser(
  space: GpuSpace,
  run: SdRun,
  { guidanceScale = 1, guidanceRescale, guidanceInterval: interval, checkFinite }: TextToImageOptions,
): Denoiser {
  const { unet, sampler, shape, conditions, control, steps, beside, onProgress } = run;
  const [batch, ...item] = shape;
  const seenItem = [unet.config.inChannels, item[1], item[2]];
  const join = beside.length > 0 ? channelJoin(space, batch, batch * numel(seenItem)) : undefined;
  const call = async (v: Vec, timestep: number, given: StepConditions, signal?: AbortSignal): Promise<Vec[]> => {
    const { buffer } = space.contiguous(v);
    const parts = given.encoderHiddenStates.shape[0] / batch;
    const common = { timestep, signal, checkFinite, onProgress };
    const of = (data: GPUBuffer, shapeOfOne: readonly number[]) => ({
      data: Array<GPUBuffer>(parts).fill(data),
      shape: [parts * batch, ...shapeOfOne],
    });
    const at = Math.max(0, steps.indexOf(timestep));
    const progress = [at / steps.length, (at + 1) / steps.length] as const;
    const controls = await control?.residuals({ ...common, sample: of(buffer, item), progress, conditions: given });
    const sample = join ? of(join([v, ...beside]), seenItem) : of(buffer, item);
    const out = await unet.forward({ ...common, ...given, sample, controls });
    // Copies, since the next call of the network writes over its output.
    const size = numel(out.shape) / parts;
    return Array.from({ length: parts }, (_, i) => space.copy(out.buffer, size, batch, i * size));
  };
  const { both } = conditions;
  const alone = sampler.denoiser(async (v, t, signal) => (await call(v, t, conditions.text, signal))[0]);
  if (!both) return alone;
  const pair = sampler.pairDenoiser(async (v, t, signal) => {
    const [uncond, cond] = await call(v, t, both, signal);
    return [uncond, cond];
  });
  return guided(pair, guidanceScale, { guidanceRescale, interval, conditional: interval && alone });
}
