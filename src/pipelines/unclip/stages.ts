/**
 * The stages of unCLIP as denoisers: an embedding from a text, a small picture from an embedding, a large one from
 * that.
 */
import type { RunOptions, UNet2D } from '../../models/index.ts';
import type { PriorTransformer } from '../../models/transformers/priorModel.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import { guidedDenoiser, outputParts, repeatedState, type ToldNetwork } from '../run/guidedDenoiser.ts';
import type { LatentShape } from '../run/latents.ts';
import { unet2dBeside } from '../pixelDiffusion/unet2dNetwork.ts';
import type { UnclipText } from './texts.ts';

type Call = Omit<RunOptions, 'signal'>;

/** What the prior is asked with. */
export interface PriorRun {
  prior: PriorTransformer;
  sampler: Sampler;
  /** Pictures. */
  batch: number;
  /** Of the pictures, or twice as many where guidance comes first. */
  texts: UnclipText;
  guidanceScale: number;
}

/** The prior on states [B,E]. */
export function priorDenoiser(space: GpuSpace, run: PriorRun, call: Call): Denoiser {
  const { prior, sampler, batch, texts, guidanceScale } = run;
  const { data, shape, pooled, mask } = texts;
  const N = shape[0];
  const parts = N / batch;
  const conditions = {
    projEmbedding: { data: space.vec(pooled.data, N).buffer, shape: pooled.shape },
    encoderHiddenStates: { data: space.vec(data, N).buffer, shape },
    attentionMask: mask,
  };
  const network: ToldNetwork<typeof conditions> = async (v, timestep, told, signal) => {
    const hiddenStates = repeatedState(space.contiguous(v).buffer, [batch, v.length / batch], parts);
    const out = await prior.forward({ ...call, ...told, hiddenStates, timestep, signal });
    return outputParts(space, out, batch);
  };
  return guidedDenoiser(
    sampler,
    network,
    { alone: conditions, both: parts > 1 ? conditions : undefined },
    guidanceScale,
  );
}

/** What enlarges a picture. */
export interface SuperResRun {
  first: UNet2D;
  /** Asked in the last step alone. */
  last: UNet2D;
  sampler: Sampler;
  shape: LatentShape;
  /** What the last step's network is told. */
  lastTimestep: number;
  /** The small picture, enlarged, of `shape`. */
  enlarged: Vec;
}

/** Both networks on states [B,3,H,W], with the enlarged picture in the channels behind. */
export function superResDenoiser(space: GpuSpace, run: SuperResRun, call: Call): Denoiser {
  const { first, last, sampler, shape, lastTimestep, enlarged } = run;
  const early = unet2dBeside(space, first, { shape, ...call });
  const late = unet2dBeside(space, last, { shape, ...call });
  return sampler.denoiser((v, timestep, signal) =>
    (timestep === lastTimestep ? late : early)(v, enlarged, timestep, signal),
  );
}
