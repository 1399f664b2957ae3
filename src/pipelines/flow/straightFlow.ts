/** What the pipelines of straight flows (Stable Diffusion 3, Flux) have in common: parts, steps, what they refuse. */
import { ConfigError, InvalidArgumentError, UnsupportedError, type Device } from '../../engine/index.ts';
import { readModelIndex, type Directory, type ModelIndex } from '../../loading/index.ts';
import { AutoencoderKL, type LoadOptions } from '../../models/index.ts';
import { resolutionMu } from '../../sampler/parameterisation/flowMatching.ts';
import type { Sampler, StepChoice } from '../../sampler/index.ts';
import { networkOptions, type LoadPipelineOptions } from '../options/loadOptions.ts';
import { refuseOptions } from '../options/refuseOptions.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';
import type { FlowOpening, FlowPrompts } from '../prompts/flowPrompts.ts';
import { loadParts, readScheduler, type Part } from '../run/basePipeline.ts';
import type { LoraParts } from '../run/loraPipeline.ts';

/** The networks of a folder, and its scheduler's config. */
export interface FlowParts<Transformer> extends LoraParts {
  transformer: Transformer;
  text: FlowPrompts | undefined;
}

/** What the kinds of folders differ in. */
interface FlowForm<Transformer, Pipeline> {
  classNames: readonly string[];
  transformer: { load(device: Device, source: Directory, options: LoadOptions): Promise<Transformer> };
  /** Opens what reads prompts; undefined where the folder has none of it. */
  texts(opening: FlowOpening, index: ModelIndex, width: number): Promise<FlowPrompts | undefined>;
  /** The autoencoder's latent channels that the transformer was made for. */
  channels(transformer: Transformer, vae: AutoencoderKL): number;
  make(parts: FlowParts<Transformer>): Pipeline;
}

/**
 * Loads `transformer/`, texts and `vae/` of a folder, and makes a pipeline of them.
 * @throws as the pipelines' `load`; nothing is left behind.
 */
export async function loadFlow<Transformer extends Part & { config: { jointAttentionDim: number } }, Pipeline>(
  device: Device,
  directory: Directory,
  options: LoadPipelineOptions,
  form: FlowForm<Transformer, Pipeline>,
): Promise<Pipeline> {
  const index = await readModelIndex(directory, form.classNames, options.signal);
  const scheduler = await readScheduler(directory, options);
  const load = networkOptions(device, options);
  return loadParts(async (own, all) => {
    const transformer = await own(form.transformer.load(device, directory.folder('transformer'), load));
    const text = await form.texts({ device, directory, load, own }, index, transformer.config.jointAttentionDim);
    const vae = await own(AutoencoderKL.load(device, directory.folder('vae'), load));
    checkChannels(directory.name, form.channels(transformer, vae), vae);
    return form.make({ transformer, vae, text, scheduler, all });
  });
}

/** The logarithm of the shift by the number of tokens, where the schedule depends on it. */
export function dynamicMu({ config }: Sampler, tokens: number): number | undefined {
  return config.useDynamicShifting ? resolutionMu(tokens, config) : undefined;
}

/**
 * The strength that leaves ⌈steps·strength⌉ steps: the reference library's flows round up where its other pipelines
 * round down.
 * @throws InvalidArgumentError unless it is in (0, 1]; as {@link Sampler.transitions} for steps that are none
 */
export function flowStrength(sampler: Sampler, choice: StepChoice, strength: number): number {
  if (!(strength > 0 && strength <= 1)) {
    throw new InvalidArgumentError(`generate: expected strength in (0, 1], got ${strength}`);
  }
  const steps = sampler.transitions(choice).length;
  const left = steps - Math.floor(steps - steps * strength);
  // Half a step more, which rounding down takes off again.
  return left === steps ? 1 : (left + 0.5) / steps;
}

const OMIT = 'pipelines of this kind do not know it; omit it';
const FOREIGN = { controlImage: OMIT, denoisingStart: OMIT, denoisingEnd: OMIT, imageGuidanceScale: OMIT };

/**
 * Options of other kinds of pipelines that would change the picture. @throws UnsupportedError naming one that is given
 */
export function refuseForeignOptions(options: TextToImageOptions): void {
  refuseOptions(options, FOREIGN, UnsupportedError);
}

/** @throws ConfigError for parts that belong to different models */
function checkChannels(name: string, channels: number, vae: AutoencoderKL): void {
  if (channels === vae.config.latentChannels) return;
  throw new ConfigError(
    `${name}: expected a transformer of the ${vae.config.latentChannels} latent channels of vae/, got ${channels}; take ` +
      'both from one pipeline',
    'in_channels',
  );
}
