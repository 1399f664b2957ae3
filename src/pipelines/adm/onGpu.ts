/** OpenAI's networks for the sampler's vectors on the GPU: nothing of a step comes to the host. */
import { numel } from '../../engine/index.ts';
import type { AdmCall, AdmUNet } from '../../models/adm/admModel.ts';
import type { AdmClassifier } from '../../models/classifier/classifierModel.ts';
import type { LogProbGradient } from '../../sampler/guidance/classifierGuidance.ts';
import type { Network } from '../../sampler/parameterisation/denoiser.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';

/** A U-Net with its conditions; pictures of `shape` [B,C,H,W]. @throws (on the call) as {@link AdmUNet.forward} */
export function admNetwork(
  space: GpuSpace,
  unet: AdmUNet,
  {
    shape,
    ...conditions
  }: { shape: readonly number[] } & Pick<AdmCall, 'classLabels' | 'lowRes' | 'checkFinite' | 'onProgress'>,
): Network {
  return async (x, timestep, signal) => {
    const sample = { data: space.contiguous(x).buffer, shape };
    const out = await unet.forward({ sample, timestep, signal, ...conditions });
    // A copy, since the next call of the network writes over its output.
    return space.copy(out.buffer, numel(out.shape), shape[0]);
  };
}

/**
 * What guidance asks of a classifier, of a class per item; it is told the level's timestep.
 * @throws (on the call) as {@link AdmClassifier.gradient}
 */
export function classifierGradient(
  space: GpuSpace,
  classifier: AdmClassifier,
  {
    shape,
    ...conditions
  }: { shape: readonly number[]; classLabels: readonly number[] } & Pick<AdmCall, 'checkFinite' | 'onProgress'>,
): LogProbGradient {
  return async (x, { timestep }, signal) => {
    const sample = { data: space.contiguous(x).buffer, shape };
    const { gradient } = await classifier.gradient({ sample, timestep, signal, ...conditions });
    return space.copy(gradient.buffer, x.length, x.batch);
  };
}
