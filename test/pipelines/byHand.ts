/** A run of a U-Net composed by hand: the host's sampler, each half of the guidance alone, one item after the other. */
import type { Device } from '../../src/engine/index.ts';
import { guided, HostSpace, pairOf, samplerFrom, type Denoiser, type SampleOptions } from '../../src/sampler/index.ts';
import type { Directory } from '../../src/loading/index.ts';
import type { ControlNet } from '../../src/models/controlNet/controlNetModel.ts';
import type { AutoencoderKL } from '../../src/models/index.ts';
import { UNet2DCondition, type UNet2DConditionCall } from '../../src/models/unetCondition/unetConditionModel.ts';

/** What one item of a half is told. */
export type Told = Omit<UNet2DConditionCall, 'sample' | 'timestep'>;

export interface HandRun extends Partial<Omit<SampleOptions, 'x' | 'noise' | 'denoiser' | 'image' | 'maskImage'>> {
  scheduler: Readonly<Record<string, unknown>>;
  /** [C,h,w] of an item. */
  item: readonly [number, number, number];
  /** Unit noise of all items. */
  noise: Float32Array;
  image?: Float32Array;
  /** By item: conditional, and unconditional where there is guidance. */
  text: readonly Told[];
  negative?: readonly Told[];
  /** Behind the state of each item, in the channels. */
  beside?: readonly Float32Array[];
  guidanceScale?: number;
  /** A ControlNet, and its picture for an item. */
  control?: { net: ControlNet; picture: { data: Float32Array; shape: readonly number[] } };
  interval?: readonly [number, number];
}

/** Latents of all items. */
export async function byHand(device: Device, folder: Directory, run: HandRun): Promise<Float32Array> {
  const {
    scheduler,
    item,
    noise,
    image,
    text,
    negative,
    beside,
    guidanceScale = 1,
    interval,
    control,
    ...options
  } = run;
  const unet = await UNet2DCondition.load(device, folder.folder('unet'));
  try {
    const sampler = samplerFrom(scheduler);
    const space = new HostSpace();
    const [C, h, w] = item;
    const count = C * h * w;
    const half = (told: readonly Told[]): Denoiser =>
      sampler.denoiser(async (v, timestep) => {
        const x = Float32Array.from(await space.read(v));
        const out = new Float32Array(x.length);
        for (const [b, one] of told.entries()) {
          const seen = [...x.subarray(b * count, (b + 1) * count), ...(beside?.[b] ?? [])];
          const sample = { data: Float32Array.from(seen), shape: [1, seen.length / (h * w), h, w] };
          const controls = await control?.net.forward({ ...one, sample, timestep, controlnetCond: control.picture });
          out.set(await (await unet.forward({ ...one, sample, timestep, controls })).read(), b * count);
        }
        return space.vec(out, told.length);
      });
    const plain = half(text);
    const denoiser = negative ? guided(pairOf(half(negative), plain), guidanceScale, { interval }) : plain;
    const x = space.vec(noise, text.length);
    const given = image && { image: space.vec(image, text.length) };
    return Float32Array.from(await space.read(await sampler.sample({ ...options, ...given, x, denoiser })));
  } finally {
    unet.dispose();
  }
}

/** Scaled latents of one picture [1,3,H,W] with the posterior's noise given. */
export async function latentsOf(
  vae: AutoencoderKL,
  image: { data: Float32Array; shape: readonly number[] },
  noise: Float32Array,
): Promise<Float32Array> {
  const posterior = await (await vae.encode({ image })).posterior();
  return Float32Array.from(posterior.sample(noise), (v) => v * vae.config.scalingFactor);
}
