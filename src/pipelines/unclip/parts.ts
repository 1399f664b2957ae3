/** What both kinds of unCLIP are made of: text encoder, decoder, and two networks that enlarge. */
import { ConfigError, UnsupportedError, type Device } from '../../engine/index.ts';
import type { Directory, ModelIndex } from '../../loading/index.ts';
import { UNet2D, type LoadOptions } from '../../models/index.ts';
import { UnCLIPTextProjModel } from '../../models/unclip/textProjModel.ts';
import { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import type { Sampler } from '../../sampler/index.ts';
import { samplerFrom } from '../../sampler/diffusers/samplerFrom.ts';
import { readScheduler, type Owner, type Part } from '../run/basePipeline.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { PictureResize } from '../picture/pictureResize.ts';
import { openUnclipTexts, type UnclipTextEncoder } from './texts.ts';

/** The parts of a decoder, with the sizes that its configs fix. */
export interface UnclipParts {
  texts: UnclipTextEncoder;
  textProj: UnCLIPTextProjModel;
  decoder: UNet2DCondition;
  superResFirst: UNet2D;
  superResLast: UNet2D;
  resize: PictureResize;
  decoderSampler: Sampler;
  superResSampler: Sampler;
  /** Height and width of what the decoder paints, and of results. */
  small: readonly [number, number];
  large: readonly [number, number];
  all: readonly Part[];
}

/** @throws UnsupportedError for a component that this kind does not have */
export function checkComponents({ components }: ModelIndex, known: ReadonlySet<string>, where: string): void {
  for (const [name, { className }] of components) {
    if (className === null || known.has(name)) continue;
    throw new UnsupportedError(`${where}: expected ${[...known].join(', ')}, got component ${name} (${className})`);
  }
}

/** Components of a decoder. */
export const DECODER_PARTS = [
  'decoder',
  'text_encoder',
  'tokenizer',
  'text_proj',
  'super_res_first',
  'super_res_last',
  'decoder_scheduler',
  'super_res_scheduler',
] as const;

/** The scheduler of a stage. @throws as {@link readScheduler} */
export async function openSampler(
  directory: Directory,
  stage: 'prior' | 'decoder' | 'super_res',
  options: LoadPipelineOptions,
): Promise<Sampler> {
  return samplerFrom(await readScheduler(directory, options, { folder: `${stage}_scheduler` }));
}

/** @throws as the parts when they are loaded; ConfigError for parts of different models */
export async function loadUnclipParts(
  device: Device,
  directory: Directory,
  load: LoadOptions,
  options: LoadPipelineOptions,
  { own, all }: { own: Owner; all: readonly Part[] },
): Promise<UnclipParts> {
  const decoderSampler = await openSampler(directory, 'decoder', options);
  const superResSampler = await openSampler(directory, 'super_res', options);
  const texts = await openUnclipTexts(device, directory, load, own);
  const textProj = await own(UnCLIPTextProjModel.load(device, directory.folder('text_proj'), load));
  const decoder = await own(UNet2DCondition.load(device, directory.folder('decoder'), load));
  const superResFirst = await own(UNet2D.load(device, directory.folder('super_res_first'), load));
  const superResLast = await own(UNet2D.load(device, directory.folder('super_res_last'), load));
  const resize = await own(Promise.resolve(new PictureResize(device, 'bicubic')));
  const parts = { texts, textProj, decoder, superResFirst, superResLast, resize, decoderSampler, superResSampler, all };
  checkText(directory.name, parts);
  return { ...parts, ...sizesOf(directory.name, parts) };
}

/** @throws ConfigError, naming a field that says that two parts do not belong together */
export function expectEqual(where: string, field: string, expected: number, got: number, of: string): void {
  if (expected === got) return;
  throw new ConfigError(
    `${where}: expected ${of} of ${expected} channels, got ${got} (${field}); take all parts from one pipeline`,
    field,
  );
}

function checkText(where: string, { texts, textProj, decoder }: Pick<UnclipParts, 'texts' | 'textProj' | 'decoder'>) {
  const { clipEmbeddingsDim: E, crossAttentionDim: C, timeEmbedDim: D } = textProj.config;
  const { config } = decoder;
  expectEqual(where, 'clip_embeddings_dim', texts.projectionDim, E, 'text_proj/');
  expectEqual(where, 'clip_embeddings_dim', texts.hiddenSize, E, 'text_proj/');
  expectEqual(where, 'cross_attention_dim', C, config.crossAttentionDim[0], 'decoder/');
  if (config.classEmbedding !== 'identity') {
    throw new ConfigError(
      `${where}: expected a decoder with class_embed_type "identity", got "${config.classEmbedding}"`,
      'class_embed_type',
    );
  }
  expectEqual(where, 'time_embed_dim', config.timeEmbeddingDim, D, 'text_proj/');
}

function sizesOf(where: string, parts: Pick<UnclipParts, 'decoder' | 'superResFirst' | 'superResLast'>) {
  const small = parts.decoder.config.sampleSize;
  const large = parts.superResFirst.config.sampleSize;
  if (!small || !large) {
    throw new ConfigError(
      `${where}: expected the decoder and super_res_first/ to say what size they paint, got no sample_size`,
      'sample_size',
    );
  }
  const channels = parts.decoder.config.inChannels;
  expectEqual(where, 'in_channels', 3, channels, 'decoder/');
  for (const [name, { config }] of [
    ['super_res_first/', parts.superResFirst],
    ['super_res_last/', parts.superResLast],
  ] as const) {
    expectEqual(where, 'in_channels', 2 * channels, config.inChannels, name);
  }
  return { small, large };
}
