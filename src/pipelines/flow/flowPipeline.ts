/** What the pipelines of straight flows (Stable Diffusion 3, Flux) have in common: parts, adapters, guidance. */
import type { Device } from '../../engine/index.ts';
import type { RawConfig } from '../../loading/index.ts';
import type { AutoencoderKL } from '../../models/index.ts';
import { guided } from '../../sampler/guidance/guidance.ts';
import type { Denoiser, Sampler } from '../../sampler/index.ts';
import type { Vec } from '../../sampler/vec.ts';
import { BasePipeline, type Part } from '../run/basePipeline.ts';
import type { FlowPrompts } from '../prompts/flowPrompts.ts';
import { klDecoder, klLatents, type LatentDecoder } from '../run/latentDecoder.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { PipelineLoras, type LoraHolder, type PipelineLora } from '../source/pipelineLoras.ts';
import type { RunConditions, StepConditions } from '../stableDiffusion/conditions.ts';
import type { SourceOptions } from '../source/source.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** The networks of a folder, and its scheduler's config. */
export interface FlowParts<Transformer> {
  transformer: Transformer;
  vae: AutoencoderKL;
  /** Undefined where prompts cannot be read. */
  text: FlowPrompts | undefined;
  scheduler: RawConfig;
  all: readonly Part[];
}

/** The transformer's call: what it says of a state, for each part of the conditions. */
export type FlowCall = (v: Vec, timestep: number, told: StepConditions, signal?: AbortSignal) => Promise<Vec[]>;

/** A transformer over the latents of a KL autoencoder. */
export abstract class FlowPipeline<Transformer extends Pick<LoraHolder, 'setLoras'>> extends BasePipeline {
  private readonly loras: PipelineLoras;

  protected constructor(
    device: Device,
    protected readonly parts: FlowParts<Transformer>,
    { onProgress, token, endpoint, local }: LoadPipelineOptions & SourceOptions,
  ) {
    const decode = klDecoder(device, parts.vae);
    const toPictures: LatentDecoder = (space, z, shape, options) => decode(space, z, shape, { onProgress, ...options });
    super(device, parts.all, toPictures, onProgress);
    const { transformer, text } = parts;
    const network = { part: 'transformer' as const, setLoras: transformer.setLoras.bind(transformer) };
    this.loras = new PipelineLoras([network, ...(text?.texts ?? [])], { token, endpoint, local });
  }

  /** Pixels per latent cell along each side. */
  get downsampling(): number {
    return this.parts.vae.downsampling;
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): RawConfig {
    return this.parts.scheduler;
  }

  /** Merges adapters of low rank in place of those before. @throws as {@link StableDiffusionPipeline.loadLoras} */
  loadLoras(loras: readonly PipelineLora[], options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.loras.load(loras, options);
  }

  /** Gives back the weights of the pipeline's own files, bit by bit. @throws AbortedError, DeviceLostError */
  unloadLoras(options: { signal?: AbortSignal } = {}): Promise<void> {
    return this.loras.load([], options);
  }

  /** Releases weights and programs; the device stays. */
  override async dispose(): Promise<void> {
    await super.dispose();
    await this.loras.dispose();
  }

  protected override get autoencoder() {
    return klLatents(this.parts.vae);
  }

  /** The transformer as a denoiser: both halves of the guidance in one batch, or the conditional one alone. */
  protected guide(
    sampler: Sampler,
    call: FlowCall,
    { text, both }: RunConditions,
    scale: number,
    { guidanceRescale, guidanceInterval: interval }: TextToImageOptions,
  ): Denoiser {
    const alone = sampler.denoiser(async (v, t, signal) => (await call(v, t, text, signal))[0]);
    if (!both) return alone;
    const pair = sampler.pairDenoiser(async (v, t, signal) => {
      const [uncond, cond] = await call(v, t, both, signal);
      return [uncond, cond];
    });
    return guided(pair, scale, { guidanceRescale, interval, conditional: interval && alone });
  }
}
