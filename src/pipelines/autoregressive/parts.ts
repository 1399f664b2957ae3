/** The networks of a folder: an autoencoder with codebooks and a prior for each of its levels. */
import { ConfigError, FormatError, NotFoundError, throwIfAborted, type Device } from '../../engine/index.ts';
import {
  openWeights,
  readConfig,
  readModelIndex,
  type Checkpoint,
  type Directory,
  type RawConfig,
  type Rename,
} from '../../loading/index.ts';
import type { LoadOptions, OpenedModel } from '../../models/modelSource.ts';
import { PixelSnail } from '../../models/pixelSnail/pixelSnailModel.ts';
import type { Owner } from '../run/basePipeline.ts';
import { loadCodeDecoder, type CodeDecoder } from './codeDecoder.ts';
import { FILES, isCodePriorFolder, PICKLED, ROLES, type Role } from './fileNames.ts';
import { pixelSnailArguments, vqVaeLayout } from './shapesOfWeights.ts';

/** The names that such folders go by: with two levels, and with one. */
export const CLASS_NAMES: readonly string[] = ['VQVAE2Pipeline', 'VQVAEPipeline'];

/** What a pipeline consists of. */
export interface CodePriorParts {
  vqvae: CodeDecoder;
  top: PixelSnail;
  bottom?: PixelSnail;
}

/** A component's folder, or its config and weights opened already. */
export type CodePriorSources = Readonly<Partial<Record<Role, Directory | OpenedModel>>>;

/** Where the parts lie, as files side by side or as folders. */
interface Place {
  folder: Directory;
  /** File name without ending, of a file that lies beside others. */
  base?: string;
}

/** The parts of a folder. @throws NotFoundError, FormatError, ConfigError for the folder of another pipeline */
async function placesOf(directory: Directory, signal?: AbortSignal): Promise<Partial<Record<Role, Place>>> {
  const listed = (await directory.list(signal)) ?? [];
  const places: Partial<Record<Role, Place>> = {};
  const indexed = await directory.has('model_index.json', signal);
  const components = indexed ? (await readModelIndex(directory, CLASS_NAMES, signal)).components : undefined;
  const pickle = listed.find((name) => PICKLED.test(name));
  if (!components && pickle !== undefined && !ROLES.some((role) => listed.some((name) => FILES[role].test(name)))) {
    throw new FormatError(
      `${directory.name}: expected vqvae….safetensors and its like, got ${pickle}, which is a pickle: loading it could run ` +
        "code, so it is refused; convert it (in Python: d = torch.load('FILE.pt', map_location='cpu'); " +
        "safetensors.torch.save_file(d.get('model', d), 'FILE.safetensors'))",
    );
  }
  for (const role of ROLES) {
    if (components && !components.get(role)?.className) continue;
    const beside = listed.find((name) => FILES[role].test(name));
    if (beside !== undefined) places[role] = { folder: directory, base: beside.replace(/\.safetensors$/, '') };
    else if (components) places[role] = { folder: directory.folder(role) };
  }
  return places;
}

/** Data-parallel training keeps the network in a field of its own. */
const unwrapped: Rename = (key) => key.replace(/^module\./, '');

/** Opens the weights of a part, with its config where it has one and else with what the weights tell. */
async function openPart(
  source: Place | OpenedModel,
  role: Role,
  { signal, variant }: LoadOptions,
): Promise<{ opened: OpenedModel; close: () => Promise<void> }> {
  if ('checkpoint' in source) {
    const { config, checkpoint } = source;
    return { opened: { config: configOf(config, role, checkpoint), checkpoint }, close: async () => {} };
  }
  const { folder } = source;
  const files = ((await folder.list(signal)) ?? []).filter((name) => name.endsWith('.safetensors'));
  const only = files.length === 1 ? files[0].replace(/\.safetensors$/, '') : undefined;
  const checkpoint = await openWeights(folder, { base: source.base ?? only, variant, signal, rename: unwrapped });
  try {
    const own = source.base === undefined && (await folder.has('config.json', signal));
    const given = own ? await readConfig(folder, undefined, { signal }) : {};
    return { opened: { config: configOf(given, role, checkpoint), checkpoint }, close: () => checkpoint.close() };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * Class and arguments, those that a config has over those that show in the weights. @throws WeightError, ConfigError
 */
function configOf(given: RawConfig, role: Role, checkpoint: Checkpoint): RawConfig {
  if (role === 'vqvae' && given._class_name === 'VQModel') return given;
  const told: RawConfig =
    role === 'vqvae' ? vqVaeLayout(checkpoint) : { _class_name: 'PixelSNAIL', ...pixelSnailArguments(checkpoint) };
  const { _class_name: name = told._class_name } = given;
  // One name stands for three layouts of autoencoders, which the weights tell apart.
  if (name === told._class_name || (role === 'vqvae' && /^VQ_?VAE/i.test(String(name)))) {
    return { ...told, ...given, _class_name: told._class_name };
  }
  throw new ConfigError(
    `${role}: expected a config of ${String(told._class_name)}, got ${String(name)}`,
    '_class_name',
  );
}

/**
 * Loads the parts of a folder, or those given.
 * @throws NotFoundError where a part is missing; ConfigError for parts that belong to different models; FormatError
 * (for pickles, too), WeightError, OutOfMemoryError, AbortedError
 */
export async function loadCodePriorParts(
  device: Device,
  source: Directory | CodePriorSources,
  options: LoadOptions,
  own: Owner,
): Promise<CodePriorParts> {
  throwIfAborted(options.signal, 'fromPretrained');
  const places = await sourcesOf(source, options.signal);
  const missing = (['vqvae', 'top'] as const).find((role) => !places[role]);
  if (missing) {
    const where = 'open' in source ? (source as Directory).name : 'VQVAEPipeline';
    throw new NotFoundError(
      `${where}: expected vqvae, top and (with two levels) bottom, as folders that model_index.json names or as files ` +
        `vqvae….safetensors, pixelsnail_top….safetensors, pixelsnail_bottom….safetensors; got no ${missing}`,
    );
  }
  const open = async <P>(role: Role, load: (opened: OpenedModel) => Promise<P>): Promise<P> => {
    const { opened, close } = await openPart(places[role]!, role, options);
    try {
      return await load(opened);
    } finally {
      await close();
    }
  };
  const prior = (opened: OpenedModel) => own(PixelSnail.load(device, opened, options));
  const vqvae = await open('vqvae', (opened) => own(loadCodeDecoder(device, opened, options)));
  const top = await open('top', prior);
  const bottom = places.bottom && (await open('bottom', prior));
  const parts = { vqvae, top, bottom };
  checkParts(parts);
  return parts;
}

/**
 * The parts of a folder, opened and not loaded; their checkpoints are the caller's to close. Undefined for another
 * folder.
 * @throws as {@link loadCodePriorParts}
 */
export async function openCodePriorFolder(
  directory: Directory,
  signal?: AbortSignal,
): Promise<Partial<Record<Role, OpenedModel>> | undefined> {
  const own = (await directory.has('model_index.json', signal))
    ? CLASS_NAMES.includes((await readModelIndex(directory, undefined, signal)).className)
    : isCodePriorFolder((await directory.list(signal)) ?? []);
  if (!own) return undefined;
  const parts: Partial<Record<Role, OpenedModel>> = {};
  try {
    for (const [role, place] of Object.entries(await placesOf(directory, signal)) as [Role, Place][]) {
      parts[role] = (await openPart(place, role, { signal })).opened;
    }
    return parts;
  } catch (error) {
    for (const { checkpoint } of Object.values(parts)) await checkpoint.close();
    throw error;
  }
}

async function sourcesOf(
  source: Directory | CodePriorSources,
  signal?: AbortSignal,
): Promise<Partial<Record<Role, Place | OpenedModel>>> {
  if ('open' in source) return placesOf(source as Directory, signal);
  const sources = Object.entries(source as CodePriorSources).map(([role, part]) => {
    return [role, part && 'checkpoint' in part ? part : part && { folder: part }] as const;
  });
  return Object.fromEntries(sources) as Partial<Record<Role, Place | OpenedModel>>;
}

/** @throws ConfigError for parts that belong to different models */
function checkParts({ vqvae, top, bottom }: CodePriorParts): void {
  const wrong = (expected: string, got: string, field: string) =>
    new ConfigError(`VQVAEPipeline: expected ${expected}, got ${got}; take all parts from one model`, field);
  if ((vqvae.levels === 2) !== (bottom !== undefined)) {
    const priors = bottom ? 'one for a bottom level too' : 'one for the top level alone';
    throw wrong(`a prior for each of ${vqvae.levels} levels`, priors, 'bottom');
  }
  for (const [name, prior] of Object.entries({ top, ...(bottom && { bottom }) })) {
    const { nClass, nCondResBlock } = prior.config;
    if (nClass !== vqvae.entries) throw wrong(`a ${name} prior of ${vqvae.entries} codes`, `${nClass}`, 'n_class');
    const reads = nCondResBlock > 0;
    if (reads !== (name === 'bottom')) {
      const what = name === 'top' ? 'a top prior without condition' : 'a bottom prior that reads the top level';
      throw wrong(what, `n_cond_res_block ${nCondResBlock}`, 'n_cond_res_block');
    }
  }
  const twice = top.config.shape.map((side) => 2 * side);
  if (bottom && bottom.config.shape.some((side, i) => side !== twice[i])) {
    throw wrong(`a bottom prior of ${twice.join('×')} codes`, bottom.config.shape.join('×'), 'shape');
  }
}
