/** The loop that every latent diffusion pipeline shares: noise, sampler, steps told to the user, decoder. */
import { throwIfAborted, type Device } from '../engine/index.ts';
import type { Denoiser, Sampler } from '../sampler/index.ts';
import type { GenerationOptions, GenerationResult } from './generation.ts';
import type { TorchGenerator } from '../sampler/torchGenerator.ts';
import type { Vec } from '../sampler/vec.ts';
import { GpuSpace } from './gpuSpace.ts';
import type { LatentDecoder } from './latentDecoder.ts';
import { expectFinite, generatorOf, initialNoise, type LatentShape } from './latents.ts';

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
  sampler: Sampler;
  shape: LatentShape;
  /** The network with its conditions and guidance, on vectors of the run's space. */
  denoiser(space: GpuSpace): Denoiser;
  decode: LatentDecoder;
  /** Image to image; what it draws comes before the noise. */
  start?(space: GpuSpace, generator: TorchGenerator | readonly TorchGenerator[]): Promise<StartingPoint>;
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
    const x = await sampler.sample({
      ...start,
      x: space.vec(initialNoise(shape, options.latents, generator), shape[0]),
      denoiser: run.denoiser(space),
      numInferenceSteps: options.numInferenceSteps ?? 20,
      eta: options.eta,
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
    const images = await decode(space, x, shape, { signal, checkFinite });
    await device.idle();
    const done = performance.now();
    return { images, latents, timing: { totalMs: done - started, stepMs, decodeMs: done - decoding } };
  } finally {
    space.dispose();
  }
}
