/**
 * Picture → embedding → another picture of the same things: diffusers' `UnCLIPImageVariationPipeline` folders (Karlo).
 * Ramesh et al. 2022, section 3.1, https://arxiv.org/abs/2204.06125
 */
import type { Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { loadParts } from '../run/basePipeline.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { repeatedRows } from '../prompts/promptEncoder.ts';
import { decoderScale, guides, UnclipBase } from './base.ts';
import type { UnclipResult, UnclipVariationOptions } from './options.ts';
import { checkComponents, DECODER_PARTS, expectEqual, loadUnclipParts, type UnclipParts } from './parts.ts';
import { openUnclipPictures, unclipEmbeddings, type UnclipPictureEncoder } from './pictures.ts';
import { unclipTexts } from './texts.ts';

/** Pictures → variations of them: the parts of one folder on one device. */
export class UnCLIPImageVariationPipeline extends UnclipBase {
  /** The `_class_name` of such a folder. */
  static readonly className = 'UnCLIPImageVariationPipeline';

  private constructor(
    device: Device,
    parts: UnclipParts,
    private readonly pictures: UnclipPictureEncoder,
    onProgress: LoadPipelineOptions['onProgress'],
  ) {
    super(device, parts, onProgress);
  }

  /**
   * Loads a pipeline folder.
   * @throws NotFoundError, NetworkError, FormatError, ConfigError for parts of different models, UnsupportedError for a
   * component or a scheduler that is not built, WeightError, OutOfMemoryError, AbortedError; nothing is left behind.
   */
  static async load(
    device: Device,
    directory: Directory,
    options: LoadPipelineOptions = {},
  ): Promise<UnCLIPImageVariationPipeline> {
    const { signal, onProgress } = options;
    const index = await readModelIndex(directory, UnCLIPImageVariationPipeline.className, signal);
    checkComponents(index, new Set([...DECODER_PARTS, 'image_encoder', 'feature_extractor']), directory.name);
    return loadParts(async (own, all) => {
      const load = networkOptions(device, options);
      const pictures = await openUnclipPictures(device, directory, load, own);
      const parts = await loadUnclipParts(device, directory, load, options, { own, all });
      const E = parts.textProj.config.clipEmbeddingsDim;
      expectEqual(directory.name, 'projection_dim', E, pictures.model.config.projectionDim, 'image_encoder/');
      return new UnCLIPImageVariationPipeline(device, parts, pictures, onProgress);
    });
  }

  /**
   * Pictures → variations; by default 25 steps of the decoder and 7 of what enlarges.
   * @throws InvalidArgumentError for an option out of range; LimitError where it does not fit the device; AbortedError
   * when the signal fires, between two submits; NonFiniteError, DeviceLostError, OutOfMemoryError. After any of them
   * but a lost device the pipeline stays usable.
   */
  async generate(options: UnclipVariationOptions): Promise<UnclipResult> {
    const started = performance.now();
    const call = this.callOf(options);
    const { numImagesPerPrompt: times = 1, signal } = options;
    const guided = guides('decoderGuidanceScale', decoderScale(options));
    const { data, shape } = await unclipEmbeddings(this.pictures, options, this.onProgress);
    const [N, E] = shape;
    // The decoder reads a text too; there is none.
    const prompt = Array<string>(N).fill('');
    const texts = await unclipTexts(this.parts.texts, { prompt, numImagesPerPrompt: times, signal }, guided);
    const embeddings = { data: repeatedRows(data, N, times), shape: [N * times, E] as const };
    return this.paint(embeddings, texts, call, { started, stepMs: [] });
  }
}
