import { ConfigError, FormatError, NotFoundError } from '../engine/errors.ts';
import { Checkpoint, type CheckpointOptions } from './checkpoint.ts';
import type { RawConfig } from './configReader.ts';
import { joinPath, type Directory } from './directory.ts';
import { isObject, kindOf, parsePythonJson } from './json.ts';
import { openSharded } from './shardedCheckpoint.ts';

/** Base names of weight files: diffusers models use the first, text encoders the second. */
export const WEIGHT_BASES = ['diffusion_pytorch_model', 'model'] as const;

/** Which weight files of a folder are meant. */
export interface WeightQuery {
  /** File name without variant and ending; by default both of {@link WEIGHT_BASES} are tried. */
  base?: string | readonly string[];
  /** `fp16` prefers `NAME.fp16.safetensors`. */
  variant?: string;
  signal?: AbortSignal;
}

/** Where the weights of a component are. */
export interface FoundWeights {
  readonly path: string;
  /** Whether `path` is an index of shards. */
  readonly sharded: boolean;
  /** The variant that was found, undefined for the plain files. */
  readonly variant: string | undefined;
}

/** Variants that hold the same weights in another precision, so that one may stand in for another. */
const PRECISIONS: readonly (string | undefined)[] = ['fp16', 'bf16', 'fp32', undefined];

const PICKLE = /\.(bin|pt|pth|ckpt|pkl)$/;

/**
 * Finds the weights in a component's folder: the variant's file or index, else the plain ones; without a variant the
 * plain ones, else a half-precision variant. A variant that is not a precision (`non_ema`) is never replaced.
 * @throws FormatError when only pickles are there, NotFoundError when nothing is, NetworkError
 */
export async function findWeights(directory: Directory, query: WeightQuery = {}): Promise<FoundWeights> {
  const { base = WEIGHT_BASES, variant, signal } = query;
  const bases = typeof base === 'string' ? [base] : base;
  const listed = await directory.list(signal);
  const has = async (path: string): Promise<boolean> => listed?.includes(path) ?? directory.has(path, signal);
  const variants = PRECISIONS.includes(variant)
    ? [variant, ...(variant === undefined ? ['fp16'] : [undefined])]
    : [variant];
  const tried: string[] = [];
  for (const v of variants) {
    for (const name of bases) {
      for (const path of candidates(name, v)) {
        tried.push(path);
        if (await has(path)) return { path, sharded: path.endsWith('.json'), variant: v };
      }
    }
  }
  const where = `weights in ${directory.name}`;
  const pickle = listed?.find((name) => PICKLE.test(name)) ?? (listed ? undefined : await probe(bases, has));
  if (pickle !== undefined) {
    throw new FormatError(
      `${where}: expected ${tried[0]}, got only ${pickle}, which is a pickle: loading it could run code, so it is ` +
        'refused; take the safetensors form of the model, or convert it (in Python: ' +
        'Model.from_pretrained(folder).save_pretrained(folder, safe_serialization=True))',
    );
  }
  const others = listed?.filter((name) => name.endsWith('.safetensors')) ?? [];
  const got = others.length > 0 ? others.slice(0, 5).join(', ') : 'no safetensors file';
  throw new NotFoundError(
    `${where}: expected one of ${tried.slice(0, 4).join(', ')}${tried.length > 4 ? ', …' : ''}, got ${got}; check ` +
      'the folder and the variant',
  );
}

/** Opens the weights of a component's folder. @throws as {@link findWeights} and {@link Checkpoint.open} */
export async function openWeights(
  directory: Directory,
  options: WeightQuery & CheckpointOptions = {},
): Promise<Checkpoint> {
  const found = await findWeights(directory, options);
  if (found.sharded) return openSharded(directory, found.path, options);
  const source = await directory.open(found.path, options.signal);
  try {
    return await Checkpoint.open(source, options);
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

/** Which config of a folder is meant. */
export interface ConfigQuery {
  /** `config.json` by default; schedulers have `scheduler_config.json`. */
  file?: string;
  signal?: AbortSignal;
}

/**
 * Reads a component's config and checks whose it is: diffusers writes `_class_name`, transformers `architectures`.
 * Python's `Infinity`, `-Infinity` and `NaN` are numbers.
 * @param expected the class name or names that the caller can build; undefined accepts any
 * @throws NotFoundError, FormatError when it is not a JSON object, ConfigError when it is of another class
 */
export async function readConfig(
  directory: Directory,
  expected?: string | readonly string[],
  { file = 'config.json', signal }: ConfigQuery = {},
): Promise<RawConfig> {
  const where = joinPath(directory.name, file);
  const config = parsePythonJson(await directory.text(file, signal), `read ${where}`);
  if (!isObject(config)) {
    throw new FormatError(
      `config ${where}: expected a JSON object, got ${kindOf(config)}; this is another kind of file`,
    );
  }
  if (expected !== undefined) checkClass(config, typeof expected === 'string' ? [expected] : expected, where);
  return config;
}

/** The class that a config is of, as its library writes it; undefined where it does not say. */
export function configClass(config: RawConfig): string | undefined {
  const own = Object.hasOwn(config, '_class_name') ? config['_class_name'] : undefined;
  if (typeof own === 'string') return own;
  const architectures = Object.hasOwn(config, 'architectures') ? config['architectures'] : undefined;
  const first: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  return typeof first === 'string' ? first : undefined;
}

/**
 * Checks whose config it is, by {@link configClass}.
 * @param where what the message calls the config
 * @throws ConfigError unless it is of one of the classes
 */
export function checkClass(config: RawConfig, expected: readonly string[], where: string): void {
  const got = configClass(config);
  if (got !== undefined && expected.includes(got)) return;
  throw new ConfigError(
    `config ${where}: expected a config of ${expected.join(' or ')}, got ${got ?? 'one that names no class'}; ` +
      'pass the folder of that component',
    '_class_name',
  );
}

/** What `model_index.json` says of a component; both are null for one that was left out. */
export interface ComponentEntry {
  readonly library: string | null;
  readonly className: string | null;
}

/** What a `model_index.json` says. */
export interface ModelIndex {
  /** The class of the pipeline, e.g. `StableDiffusionPipeline`. */
  readonly className: string;
  /** By the name of their folder. */
  readonly components: ReadonlyMap<string, ComponentEntry>;
  /** The other fields: options of the pipeline. */
  readonly options: RawConfig;
}

/**
 * Reads a pipeline folder's `model_index.json`.
 * @throws NotFoundError, FormatError when it is not a JSON object, ConfigError when it is of another class or of none
 */
export async function readModelIndex(
  directory: Directory,
  expected?: string | readonly string[],
  signal?: AbortSignal,
): Promise<ModelIndex> {
  const config = await readConfig(directory, expected, { file: 'model_index.json', signal });
  const className = configClass(config);
  if (className === undefined) checkClass(config, ['a pipeline'], joinPath(directory.name, 'model_index.json'));
  const components = new Map<string, ComponentEntry>();
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(config)) {
    if (isComponent(value)) components.set(key, { library: value[0], className: value[1] });
    else if (!key.startsWith('_')) options[key] = value;
  }
  return { className: className!, components, options };
}

function isComponent(value: unknown): value is [string | null, string | null] {
  const named = (part: unknown): boolean => part === null || typeof part === 'string';
  return Array.isArray(value) && value.length === 2 && value.every(named);
}

/** File names of a variant, single file first; the index has been named in two ways. */
function candidates(base: string, variant: string | undefined): string[] {
  if (variant === undefined) return [`${base}.safetensors`, `${base}.safetensors.index.json`];
  return [
    `${base}.${variant}.safetensors`,
    `${base}.safetensors.index.${variant}.json`,
    `${base}.${variant}.safetensors.index.json`,
  ];
}

async function probe(bases: readonly string[], has: (path: string) => Promise<boolean>): Promise<string | undefined> {
  for (const name of new Set([...bases, 'pytorch_model'])) if (await has(`${name}.bin`)) return `${name}.bin`;
  return undefined;
}
