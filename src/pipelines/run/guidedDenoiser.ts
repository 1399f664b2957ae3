/**
 * Networks that are told of a condition, as denoisers with classifier-free guidance: both halves in one batch, or the
 * conditional one alone. Ho & Salimans 2022, https://arxiv.org/abs/2207.12598
 */
import { numel } from '../../engine/index.ts';
import type { ModelOutput, TensorInput } from '../../models/index.ts';
import { guided } from '../../sampler/guidance/guidance.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import type { GpuSpace } from '../gpu/gpuSpace.ts';

/** What a network answers on a state, told of one condition or of several behind each other: an answer for each. */
export type ToldNetwork<Told> = (v: Vec, timestep: number, told: Told, signal?: AbortSignal) => Promise<Vec[]>;

/** What a network is told. */
export interface Halves<Told> {
  /** The condition alone. */
  alone: Told;
  /** The unconditional half, then the conditional one; undefined where nothing is guided. */
  both: Told | undefined;
}

/** How far, and at which levels of noise: see {@link guided}. */
interface GuidedOptions {
  guidanceRescale?: number;
  guidanceInterval?: readonly [low: number, high: number];
}

/** The network as the denoiser of a run. @throws as {@link guided} for options out of range */
export function guidedDenoiser<Told>(
  sampler: Sampler,
  network: ToldNetwork<Told>,
  { alone: condition, both }: Halves<Told>,
  scale: number,
  { guidanceRescale, guidanceInterval: interval }: GuidedOptions = {},
): Denoiser {
  const alone = sampler.denoiser(async (v, t, signal) => (await network(v, t, condition, signal))[0]);
  if (both === undefined) return alone;
  const pair = sampler.pairDenoiser(async (v, t, signal) => {
    const [uncond, cond] = await network(v, t, both, signal);
    return [uncond, cond];
  });
  return guided(pair, scale, { guidanceRescale, interval, conditional: interval && alone });
}

/** One state for each of `parts` conditions: [B,…] in memory once, [parts·B,…] to the network. */
export function repeatedState(data: GPUBuffer, [batch, ...item]: readonly number[], parts: number): TensorInput {
  return { data: Array<GPUBuffer>(parts).fill(data), shape: [parts * batch, ...item] };
}

/** An output [parts·B,…] as `parts` vectors of B items; copies, since the next call of the network writes over it. */
export function outputParts(space: GpuSpace, { buffer, shape }: ModelOutput, batch: number): Vec[] {
  const parts = shape[0] / batch;
  const length = numel(shape) / parts;
  return Array.from({ length: parts }, (_, i) => space.copy(buffer, length, batch, i * length));
}
