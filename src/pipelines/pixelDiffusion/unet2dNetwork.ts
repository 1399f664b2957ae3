/** `UNet2DModel` as a network on the sampler's vectors, with its class condition. */
import { InvalidArgumentError, numel } from '../../engine/index.ts';
import type { UNet2D } from '../../models/index.ts';
import type { RunOptions } from '../../models/modelRuntime.ts';
import type { Network } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import { channelJoin } from '../gpu/channelJoin.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';
import type { LatentShape } from '../run/latents.ts';
import type { UnconditionalOptions } from '../options/pictureOptions.ts';

/** What stays the same in all evaluations of a run. */
export interface UNet2DRun extends Omit<RunOptions, 'signal'> {
  /** Of the state. */
  shape: LatentShape;
  classLabels?: readonly number[] | Float32Array;
}

/** The network on states of that shape. Its results are copies, since its next call writes over its output. */
export function unet2dNetwork(space: GpuSpace, unet: UNet2D, { shape, ...options }: UNet2DRun): Network {
  return async (v, timestep, signal) => {
    const sample = { data: space.contiguous(v).buffer, shape };
    const out = await unet.forward({ ...options, sample, timestep, signal });
    return space.copy(out.buffer, numel(out.shape), shape[0]);
  };
}

/** As {@link unet2dNetwork}, for one that sees another vector, [B,C₂,h,w], in the channels behind the state. */
export function unet2dBeside(
  space: GpuSpace,
  unet: UNet2D,
  { shape, ...options }: UNet2DRun,
): (v: Vec, beside: Vec, timestep: number, signal?: AbortSignal) => Promise<Vec> {
  const [batch, , ...size] = shape;
  const joinedShape = [batch, unet.config.inChannels, ...size];
  const join = channelJoin(space, batch, numel(joinedShape));
  return async (v, beside, timestep, signal) => {
    const sample = { data: join([v, beside]), shape: joinedShape };
    const out = await unet.forward({ ...options, sample, timestep, signal });
    return space.copy(out.buffer, numel(out.shape), batch);
  };
}

/** Class labels of `batch` pictures: as many as are given, or one for all. @throws InvalidArgumentError otherwise */
export function labelsOfBatch(
  given: UnconditionalOptions['classLabels'],
  { classEmbedding, numClassEmbeds }: UNet2D['config'],
  batch: number,
): readonly number[] | Float32Array | undefined {
  if (given === undefined || given instanceof Float32Array) return given; // the network checks embeddings
  const list = typeof given === 'number' ? Array<number>(batch).fill(given) : given;
  if (list.length !== batch) {
    throw new InvalidArgumentError(`generate: expected 1 or ${batch} classLabels, got ${list.length}`);
  }
  const bad =
    classEmbedding === 'table' ? list.find((c) => !Number.isInteger(c) || c < 0 || c >= numClassEmbeds!) : undefined;
  if (bad === undefined) return list;
  throw new InvalidArgumentError(`generate: expected classLabels in 0 … ${numClassEmbeds! - 1}, got ${bad}`);
}
