/**
 * Text → embedding of a picture → small picture → large picture: diffusers' `UnCLIPPipeline` folders (Karlo). Ramesh et
 * al. 2022, "Hierarchical Text-Conditional Image Generation with CLIP Latents", https://arxiv.org/abs/2204.06125
 */
import { ConfigError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { PriorTransformer } from '../../models/transformers/priorModel.ts';
import type { Sampler } from '../../sampler/index.ts';
import { loadParts } from '../run/basePipeline.ts';
import type { LatentShape } from '../run/latents.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { decoderScale, guides, UnclipBase } from './base.ts';
import type { UnclipOptions, UnclipResult } from './options.ts';
import {
  checkComponents,
  DECODER_PARTS,
  expectEqual,
  loadUnclipParts,
  openSampler,
  type UnclipParts,
} from './parts.ts';
import { priorDenoiser } from './stages.ts';
import { joined, unclipTexts } from './texts.ts';

interface Prior {
  network: PriorTransformer;
  sampler: Sampler;
}

/** What the reference library does without being told. */
const DEFAULTS = { priorNumInferenceSteps: 25, priorGuidanceScale: 4 } as const;

/** Texts → pictures by way of CLIP's embeddings of pictures: the parts of one folder on one device. */
export class UnCLIPPipeline extends UnclipBase {
  /** The `_class_name` of such a folder. */
  static readonly className = 'UnCLIPPipeline';

  private constructor(
    device: Device,
    parts: UnclipParts,
    private readonly prior: Prior,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts, onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * component or a scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(device: Device, directory: Directory, options: LoadPipelineOptions = {}): Promise<UnCLIPPipeline> {
    const { signal, onProgress } = options;
    const index = await readModelIndex(directory, UnCLIPPipeline.className, signal);
    checkComponents(index, new Set([...DECODER_PARTS, 'prior', 'prior_scheduler']), directory.name);
    const sampler = await openSampler(directory, 'prior', options);
    return loadParts(async (own, all) => {
      const load = networkOptions(device, options);
      const network = await own(PriorTransformer.load(device, directory.folder('prior'), load));
      const parts = await loadUnclipParts(device, directory, load, options, { own, all });
      const { embeddingDim, embeddingProjDim, clipEmbedDim } = network.config;
      const E = parts.textProj.config.clipEmbeddingsDim;
      expectEqual(directory.name, 'embedding_dim', E, embeddingDim, 'prior/');
      expectEqual(directory.name, 'embedding_proj_dim', E, embeddingProjDim, 'prior/');
      expectEqual(directory.name, 'clip_embed_dim', E, clipEmbedDim, 'prior/');
      expectPlaces(directory.name, network, parts.texts.tokens);
      return new UnCLIPPipeline(device, parts, { network, sampler }, onProgress);
    });
  }

  /**
   * Texts → pictures; by default 25 steps of the prior, 25 of the decoder and 7 of what enlarges. All stages draw from
   * one generator, one after the other.
   * @throws InvalidArgumentError for an option out of range; LimitError where it does not fit the device; AbortedError
   * when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After any of them
   * but a lost device the pipeline stays usable.
   */
  async generate(options: UnclipOptions): Promise<UnclipResult> {
    const started = performance.now();
    const call = this.callOf(options);
    const { priorGuidanceScale: scale = DEFAULTS.priorGuidanceScale, checkFinite } = options;
    const { priorNumInferenceSteps: numInferenceSteps = DEFAULTS.priorNumInferenceSteps } = options;
    // Both stages read one batch, so one that guides makes the other take both halves.
    const both = [guides('priorGuidanceScale', scale), guides('decoderGuidanceScale', decoderScale(options))];
    const texts = await unclipTexts(this.parts.texts, options, both.includes(true));
    const batch = texts.text.shape[0];
    const { network: prior, sampler } = this.prior;
    const run = { prior, sampler, batch, texts: joined(texts.text, texts.negative), guidanceScale: scale };
    const shape: LatentShape = [batch, prior.config.embeddingDim, 1, 1];
    const { onProgress } = this;
    const { latents, timing } = await this.stage(
      {
        name: 'prior',
        sampler,
        shape,
        numInferenceSteps,
        latents: options.priorLatents,
        denoiser: (space) => priorDenoiser(space, run, { checkFinite, onProgress }),
      },
      call,
    );
    const data = prior.postProcess(latents);
    const embeddings = { data, shape: [batch, prior.config.clipEmbedDim] as const };
    return this.paint(embeddings, texts, call, { started, stepMs: timing.stepMs });
  }
}

/** @throws ConfigError for a prior that places another number of tokens than a text has, and the few beside it */
function expectPlaces(where: string, { config }: PriorTransformer, tokens: number): void {
  const places = config.numEmbeddings + config.additionalEmbeddings;
  // The text's vector, the step, and what is denoised.
  const wanted = tokens + 3 + (config.prdToken ? 1 : 0);
  if (places === wanted) return;
  throw new ConfigError(
    `${where}: expected a prior of ${wanted} places, for texts of ${tokens} tokens, got ${places} (num_embeddings, ` +
      'additional_embeddings); take all parts from one pipeline',
    'num_embeddings',
  );
}
