/** What both kinds of DeepFloyd IF are made of: T5, a U-Net in pixels, and a scheduler. */
import { ConfigError, UnsupportedError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory } from '../../loading/index.ts';
import { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import type { LoadOptions } from '../../models/index.ts';
import { T5EncoderModel } from '../../models/textEncoders/t5EncoderModel.ts';
import { encodeT5Prompts } from '../../models/textEncoders/t5Prompts.ts';
import { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import { readScheduler, type Owner, type Part } from '../run/basePipeline.ts';
import { hasPart } from '../prompts/flowPrompts.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import type { PromptEncoder } from '../prompts/promptEncoder.ts';

/** The parts of a stage. */
export interface IfParts {
  unet: UNet2DCondition;
  encode: PromptEncoder | undefined;
  scheduler: Readonly<Record<string, unknown>>;
  all: readonly Part[];
}

/** How a stage is loaded. */
export interface IfLoadOptions extends LoadPipelineOptions {
  /** False leaves T5 out, which is the largest part by far: texts are then given as `promptEmbeds`. Default true. */
  textEncoder?: boolean;
}

const KNOWN = ['unet', 'scheduler', 'text_encoder', 'tokenizer', 'image_noising_scheduler'];

/** Components that pictures do not need. */
const UNUSED = new Set(['safety_checker', 'feature_extractor', 'watermarker']);

/** Tokens of a text: what the networks were trained with, though T5 reads more. */
export const IF_TOKENS = 77;

/** @throws as `load` of the pipelines */
export async function loadIfParts(
  device: Device,
  directory: Directory,
  className: string,
  options: IfLoadOptions,
  { own, all }: { own: Owner; all: readonly Part[] },
): Promise<IfParts> {
  const { signal } = options;
  const index = await readModelIndex(directory, className, signal);
  for (const [name, entry] of index.components) {
    if (entry.className === null || KNOWN.includes(name) || UNUSED.has(name)) continue;
    throw new UnsupportedError(
      `${directory.name}: expected ${KNOWN.join(', ')}, got component ${name} (${entry.className})`,
    );
  }
  const scheduler = await readScheduler(directory, options);
  const load = networkOptions(device, options);
  const text = options.textEncoder !== false && hasPart(index, 'text_encoder');
  const t5 = text ? await openT5(device, directory, load, own) : undefined;
  const unet = await own(UNet2DCondition.load(device, directory.folder('unet'), load));
  const width = unet.config.encoderHidDim ?? unet.config.crossAttentionDim[0];
  if (t5 && t5.width !== width) {
    throw new ConfigError(
      `${directory.name}: expected a text encoder of ${width} channels as the U-Net reads, got ${t5.width}; take both from ` +
        'one pipeline',
      'encoder_hid_dim',
    );
  }
  return { unet, encode: t5?.encode, scheduler, all };
}

/** @throws ConfigError for a network from or to other channels */
export function expectChannels(where: string, { config }: UNet2DCondition, inChannels: number): void {
  const { outChannels } = config;
  if (config.inChannels === inChannels && (outChannels === 3 || outChannels === 6)) return;
  throw new ConfigError(
    `${where}: expected a U-Net from ${inChannels} channels to 3, or to 6 with a variance, got ${config.inChannels} to ` +
      `${outChannels}; it belongs to another stage`,
    'in_channels',
  );
}

async function openT5(
  device: Device,
  directory: Directory,
  load: LoadOptions,
  own: Owner,
): Promise<{ encode: PromptEncoder; width: number }> {
  const tokenizer = await Tokenizer.open(directory.folder('tokenizer'), load);
  const model = await own(T5EncoderModel.load(device, directory.folder('text_encoder'), load));
  return {
    width: model.config.dModel,
    encode: async (prompts, { signal, onWarning }) => {
      const texts = prompts.map((text) => text.toLowerCase().trim());
      const run = { maxSequenceLength: IF_TOKENS, maskPadding: true, signal, onWarning };
      const { data, shape } = await encodeT5Prompts(tokenizer, model, texts, run);
      return { data, shape };
    },
  };
}
