/**
 * A U-Net that edits pictures, as a denoiser guided by two scales: out = u + s·(t − i) + s_I·(i − u), where t is told
 * text and picture, i the picture alone, u neither. Brooks et al. 2023, "InstructPix2Pix", equation 3.
 */
import { InvalidArgumentError, numel } from '../../engine/index.ts';
import type { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import { LinearForm, type Vec } from '../../sampler/vec.ts';
import { channelJoin } from '../gpu/channelJoin.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { outputParts } from '../run/guidedDenoiser.ts';
import type { LatentShape } from '../run/latents.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import type { RunConditions, StepConditions } from './conditions.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** What stays the same in all evaluations of a run. */
export interface EditRun {
  unet: UNet2DCondition;
  sampler: Sampler;
  /** Of the state. */
  shape: LatentShape;
  /** Made for edits. */
  conditions: RunConditions;
  /** Latents of the picture to edit, of the state's shape, not scaled. */
  image: Float32Array;
  onProgress: LoadPipelineOptions['onProgress'];
}

/**
 * Whether a call is guided: by the text, and by the picture no less than not at all.
 * @throws InvalidArgumentError for a scale that is not finite.
 */
export function editsGuided({ guidanceScale = 1, imageGuidanceScale = 1.5 }: TextToImageOptions): boolean {
  for (const [name, value] of Object.entries({ guidanceScale, imageGuidanceScale })) {
    if (!Number.isFinite(value)) {
      throw new InvalidArgumentError(`generate: expected a finite ${name}, got ${value}`);
    }
  }
  return guidanceScale > 1 && imageGuidanceScale >= 1;
}

/**
 * The denoiser of a run: three evaluations in one batch, or the one with text and picture alone.
 * @throws InvalidArgumentError for a guidanceRescale outside [0, 1].
 */
export function editDenoiser(
  space: GpuSpace,
  { unet, sampler, shape, conditions, image, onProgress }: EditRun,
  { guidanceScale = 1, imageGuidanceScale = 1.5, guidanceRescale: phi = 0, checkFinite }: TextToImageOptions,
): Denoiser {
  if (!(phi >= 0 && phi <= 1)) {
    throw new InvalidArgumentError(`generate: expected guidanceRescale in [0, 1], got ${phi}; 0 turns it off`);
  }
  const [batch, , h, w] = shape;
  const seen = [unet.config.inChannels, h, w];
  const picture = space.vec(image, batch);
  const none = space.vec(new Float32Array(image.length), batch);
  const [shown, blind] = [0, 1].map(() => channelJoin(space, batch, batch * numel(seen)));
  const call = async (v: Vec, timestep: number, told: StepConditions, signal?: AbortSignal): Promise<Vec[]> => {
    const parts = told.encoderHiddenStates.shape[0] / batch;
    const data = [shown([v, picture])];
    if (parts > 1) data.push(data[0], blind([v, none]));
    const sample = { data, shape: [parts * batch, ...seen] };
    const out = await unet.forward({ ...told, sample, timestep, signal, checkFinite, onProgress });
    return outputParts(space, out, batch);
  };
  return sampler.denoiser(async (v, timestep, signal) => {
    const [text, pictureOnly, neither] = await call(v, timestep, conditions.both ?? conditions.text, signal);
    if (!neither) return text;
    const guided = LinearForm.of(neither, 1 - imageGuidanceScale)
      .plus(pictureOnly, imageGuidanceScale - guidanceScale)
      .plus(text, guidanceScale);
    return phi === 0 ? guided.materialise() : space.matchStd(guided, text, phi);
  });
}
