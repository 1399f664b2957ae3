/** What pipelines of text → picture with a KL autoencoder have in common: a scheduler, and adapters of low rank. */
import type { Device } from '../../engine/index.ts';
import type { RawConfig } from '../../loading/index.ts';
import type { AutoencoderKL } from '../../models/index.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { PipelineLoras, type LoraHolder, type PipelineLora } from '../source/pipelineLoras.ts';
import type { SourceOptions } from '../source/source.ts';
import type { Part } from './basePipeline.ts';
import { KlPipeline } from './klPipeline.ts';
import type { LatentDecoder } from './latentDecoder.ts';

/** The networks of a folder, beside the one that denoises, and its scheduler's config. */
export interface LoraParts {
  vae: AutoencoderKL;
  /** What reads prompts; undefined where they cannot be read. */
  text: { readonly texts: readonly LoraHolder[] } | undefined;
  scheduler: RawConfig;
  /** Everything that is to be disposed of. */
  all: readonly Part[];
}

/** A pipeline whose network and text encoders take adapters. */
export abstract class LoraPipeline<Parts extends LoraParts> extends KlPipeline {
  private readonly loras: PipelineLoras;

  /**
   * @param network the one that denoises
   * @param decode where it is not as the autoencoder's config says
   */
  protected constructor(
    device: Device,
    protected readonly parts: Parts,
    network: LoraHolder,
    { onProgress, token, endpoint, local }: LoadPipelineOptions & SourceOptions,
    decode?: LatentDecoder,
  ) {
    super(device, parts.vae, parts.all, onProgress, decode);
    this.loras = new PipelineLoras([network, ...(parts.text?.texts ?? [])], { token, endpoint, local });
  }

  /** The scheduler's config, as its folder has it. */
  get schedulerConfig(): RawConfig {
    return this.parts.scheduler;
  }

  /**
   * Merges adapters of low rank (LoRA) into the network and its text encoders, in place of those before; calls that run
   * meanwhile see them from one of their steps on. When it fails, those before stay. Hu et al. 2021,
   * https://arxiv.org/abs/2106.09685
   * @throws InvalidArgumentError for a source that names no file; FormatError, WeightError naming keys of an adapter
   * for another model, UnsupportedError for another kind of adapter, NotFoundError, NetworkError, AbortedError,
   * DeviceLostError
   */
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
}

/** A network as what adapters are merged into. */
export function loraHolder(part: LoraHolder['part'], network: Pick<LoraHolder, 'setLoras'>): LoraHolder {
  return { part, setLoras: network.setLoras.bind(network) };
}
