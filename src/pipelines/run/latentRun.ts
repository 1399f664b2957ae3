/** The loop that every latent diffusion pipeline shares: noise, sampler, steps told to the user, decoder. */
import { throwIfAborted, type Device } from '../../engine/index.ts';
import type { Denoiser, SampleOptions, Sampler, StepChoice } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import type { GenerationOptions, GenerationResult } from '../options/generation.ts';
import { GpuSpace } from '../gpu/gpuSpace.ts';
import type { LatentDecoder } from './latentDecoder.ts';
import { expectFinite, generatorOf, initialNoise, type Generators, type LatentShape } from './latents.ts';

/** Where a run starts when it does not start from noise alone; see the sampler's `image` and `maskImage`. */
export interface StartingPoint {
  image: Vec;
  maskImage?: Vec;
  /** In (0, 1]. */
  strength: number;
}

/** What differs between pipelines. */
export interface LatentRun {
  device: Device;
  sampler: Pick<Sampler, 'sample'>;
  shape: LatentShape;
  /** The network with its conditions and guidance, on vectors of the run's space. */
  denoiser(space: GpuSpace): Denoiser;
  decode: LatentDecoder;
  /** Unit noise to begin with, where it is not drawn in the order of `shape`. */
  noise?(generator: Generators): Float32Array;
  /** Image to image; what it draws comes before the noise. */
  start?(space: GpuSpace, generator: Generators): Promise<StartingPoint>;
  /** What draws after the noise, before the denoiser is made. */
  prepare?(space: GpuSpace, generator: Generators): Promise<void>;
  /** What stays of a picture in a run that goes on from a state; asked once it is prepared. */
  known?(): SampleOptions['known'];
  /** What a kind of pipeline says of the steps beside their number; with `start`, latents are the state there. */
  choice?: Pick<SampleOptions, 'mu' | 'originalInferenceSteps' | 'start' | 'end'>;
}

/** How many steps, or which, as the sampler wants to be told. */
export function stepChoice({ numInferenceSteps = 20, timesteps, sigmas }: GenerationOptions): StepChoice {
  return (timesteps ?? sigmas) ? { timesteps, sigmas } : { numInferenceSteps };
}

/**
 * From noise to pictures.
 * @throws InvalidArgumentError for an option out of range; LimitError, AbortedError, NonFiniteError, DeviceLostError,
 * OutOfMemoryError; nothing of the run is left behind.
 */
export async function runLatents(run: LatentRun, options: GenerationOptions): Promise<GenerationResult> {
  const started = performance.now();
  const { device, sampler, shape, decode } = run;
  const { signal, onStep, checkFinite } = options;
  throwIfAborted(signal, 'generate');
  const generator = generatorOf(options.generator);
  const space = await GpuSpace.open(device);
  try {
    const stepMs: number[] = [];
    let before = performance.now();
    const start = await run.start?.(space, generator);
    const values = run.noise?.(generator) ?? initialNoise(shape, options.latents, generator);
    const noise = space.vec(values, shape[0]);
    await run.prepare?.(space, generator);
    const x = await sampler.sample({
      ...start,
      ...run.choice,
      ...stepChoice(options),
      known: run.known?.(),
      x: noise,
      denoiser: run.denoiser(space),
      eta: options.eta,
      brownian: options.brownian,
      generator,
      resume: options.resume,
      signal,
      onStep: async (event) => {
        stepMs.push(performance.now() - before);
        const { step, steps, timestep, sigma, state } = event;
        const preview = () => decode(space, event.preview(), shape, { signal, checkFinite });
        await onStep?.({ step, steps, timestep, sigma, state, preview });
        before = performance.now();
      },
    });
    const latents = Float32Array.from(await space.read(x));
    expectFinite(latents);
    const decoding = performance.now();
    const images = options.outputType === 'latent' ? [] : await decode(space, x, shape, { signal, checkFinite });
    await device.idle();
    const done = performance.now();
    return { images, latents, timing: { totalMs: done - started, stepMs, decodeMs: done - decoding } };
  } finally {
    space.dispose();
  }
}
