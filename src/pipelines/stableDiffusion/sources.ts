/** Where the parts of a Stable Diffusion come from: a folder of diffusers, or one file of its authors. */
import { ConfigError, UnsupportedError } from '../../engine/index.ts';
import { readConfig, readModelIndex, type Directory, type RawConfig } from '../../loading/index.ts';
import { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import type { ModelSource } from '../../models/modelSource.ts';
import type { SingleFile } from '../../models/singleFile.ts';
import type { PromptSource } from '../prompts/clipPrompts.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { SD_KINDS } from './kinds.ts';
import { resolveSource, type SourceOptions } from '../source/source.ts';

/** The parts of a pipeline, not loaded yet. */
export interface SdSources {
  /** What messages call the place. */
  readonly name: string;
  readonly className: string;
  /** The other fields of `model_index.json`. */
  readonly fields: RawConfig;
  readonly scheduler: RawConfig;
  readonly unet: ModelSource;
  readonly vae: ModelSource;
  /** Undefined where prompts cannot be read. */
  readonly text: PromptSource | undefined;
  readonly text2: PromptSource | undefined;
  readonly controlNets: readonly Directory[];
}

/** Components that a folder may have and pictures do not need. */
const UNUSED = new Set(['safety_checker', 'feature_extractor', 'image_encoder', 'watermark']);
const TEXT = ['text_encoder', 'tokenizer', 'text_encoder_2', 'tokenizer_2'];
const KNOWN = new Set(['unet', 'vae', 'scheduler', ...TEXT, 'controlnet']);

/**
 * The parts of a folder. @throws NotFoundError, FormatError, ConfigError, UnsupportedError, NetworkError, AbortedError
 */
export async function folderSources(directory: Directory, { signal }: LoadPipelineOptions): Promise<SdSources> {
  const { className, components, options } = await readModelIndex(directory, Object.keys(SD_KINDS), signal);
  const has = (name: string) => (components.get(name)?.className ?? null) !== null;
  for (const [name, component] of components) {
    if (component.className === null || KNOWN.has(name) || UNUSED.has(name)) continue;
    throw new UnsupportedError(
      `${directory.name}: expected ${[...KNOWN].join(', ')}, got component ${name} (${component.className})`,
    );
  }
  const text = (suffix: string): PromptSource | undefined => {
    if (!has(`text_encoder${suffix}`)) return undefined;
    const tokenizer = () => Tokenizer.open(directory.folder(`tokenizer${suffix}`), { signal });
    return { model: directory.folder(`text_encoder${suffix}`), tokenizer };
  };
  return {
    name: directory.name,
    className,
    fields: options,
    scheduler: await readConfig(directory.folder('scheduler'), undefined, { file: 'scheduler_config.json', signal }),
    unet: directory.folder('unet'),
    vae: directory.folder('vae'),
    text: text(''),
    text2: text('_2'),
    controlNets: has('controlnet') ? await controlFolders(directory, signal) : [],
  };
}

/**
 * One folder, or several in order: `controlnet/`, or `controlnet/`, `controlnet_1/` … as the reference library saves.
 */
async function controlFolders(directory: Directory, signal?: AbortSignal): Promise<Directory[]> {
  const folders = [directory.folder('controlnet')];
  while (await directory.has(`controlnet_${folders.length}/config.json`, signal)) {
    folders.push(directory.folder(`controlnet_${folders.length}`));
  }
  return folders;
}

/**
 * The parts of a file. Its text encoders are left out where no tokenizer is given: then prompts come as embeddings.
 * @throws ConfigError for a file that holds one part alone, or a tokenizer that is not enough for its text encoders
 */
export async function fileSources(
  name: string,
  file: SingleFile,
  options: LoadPipelineOptions & SourceOptions,
): Promise<SdSources> {
  const { kind, parts, scheduler } = file;
  const [unet, vae] = [parts.get('unet'), parts.get('vae')];
  if (!unet || !vae || !scheduler) {
    throw new ConfigError(
      `${name}: expected a whole Stable Diffusion with U-Net and autoencoder, got ${[...parts.keys()].join(', ')}; ` +
        'load a part alone through openSingleFile and its own class, or pass a folder of diffusers',
      'model',
    );
  }
  const tokenizers = options.tokenizer === undefined ? undefined : await tokenizerFolders(options);
  const text = (part: 'text_encoder' | 'text_encoder_2', folder: Directory | undefined) => {
    const model = parts.get(part);
    if (!model || !folder) return undefined;
    return { model, tokenizer: () => Tokenizer.open(folder, options) };
  };
  if (kind === 'sdxl' && tokenizers?.first && !tokenizers.second) {
    throw new ConfigError(
      `${name}: expected a folder with tokenizer/ and tokenizer_2/, since SDXL's text encoders pad differently, got one ` +
        'tokenizer; pass the folder or the hub name of an SDXL pipeline',
      'tokenizer',
    );
  }
  const xl = kind === 'sdxl' || kind === 'sdxl-refiner';
  const refiner = kind === 'sdxl-refiner';
  return {
    name,
    className: xl ? 'StableDiffusionXLPipeline' : 'StableDiffusionPipeline',
    fields: { force_zeros_for_empty_prompt: kind === 'sdxl', requires_aesthetics_score: refiner },
    scheduler,
    unet,
    vae,
    text: text('text_encoder', tokenizers?.first),
    text2: text('text_encoder_2', tokenizers && (tokenizers.second ?? tokenizers.first)),
    controlNets: [],
  };
}

/** A pipeline's folder with one or two tokenizers in it, or a tokenizer's own. */
async function tokenizerFolders(
  options: LoadPipelineOptions & SourceOptions,
): Promise<{ first: Directory | undefined; second: Directory | undefined }> {
  const { signal, token, endpoint, local } = options;
  const folder = resolveSource(options.tokenizer!, { token, endpoint, local });
  const inside = async (name: string) =>
    (await folder.has(`${name}/tokenizer_config.json`, signal)) || (await folder.has(`${name}/vocab.json`, signal))
      ? folder.folder(name)
      : undefined;
  const [first, second] = [await inside('tokenizer'), await inside('tokenizer_2')];
  return first || second ? { first, second } : { first: folder, second: undefined };
}
