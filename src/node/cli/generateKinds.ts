/** What kind of pipeline a model is, and whether the options of `daguerre generate` fit it. */
import { InvalidArgumentError, NotFoundError } from '../../engine/errors.ts';
import { configClass, readConfig, readModelIndex, type Directory, type ModelIndex } from '../../loading/index.ts';
import { isCodePriorFolder } from '../../pipelines/autoregressive/fileNames.ts';
import { originalKind } from '../../pipelines/original/kinds.ts';
import { UsageError } from './exit.ts';
import type { GenerateOptions } from './generateOptions.ts';
import { rowOf, TAKERS, TASKS, type Choice, type Has, type Task } from './kindTable.ts';
import { openModelSource } from './modelFolder.ts';

/** A kind of pipeline, as far as options go. */
export interface Kind {
  /** `_class_name` of its folder. */
  className: string;
  task: Task;
  /** Whether texts can be read; a folder may come without text encoder. */
  readsTexts: boolean;
  takes: ReadonlySet<Choice>;
  /** Whether it makes nothing without a picture. */
  needsImage: boolean;
  /** What the pipeline calls steps, of each of its stages that has some, and the scale of guidance. */
  steps: readonly string[];
  guidance: string;
}

/** The kind of a `_class_name`. */
export function kindOf(className: string, has: Has): Kind {
  const { task, also = [], but = [], ...row } = rowOf(className, has);
  const takes = new Set([...TASKS[task].takes, ...also]);
  for (const choice of but) takes.delete(choice);
  if (task === 'text' && has('controlnet')) takes.add('control');
  return {
    className,
    task,
    readsTexts: has('text_encoder') || has('text_encoder_2'),
    takes,
    needsImage: row.needsImage ?? TASKS[task].needsImage ?? false,
    steps: row.steps ?? ['numInferenceSteps'],
    guidance: row.guidance ?? 'guidanceScale',
  };
}

/** Reads what a model is, before a weight is. @throws NotFoundError, FormatError, NetworkError, AbortedError */
export async function readKind(options: GenerateOptions, signal?: AbortSignal): Promise<Kind> {
  const source = openModelSource(options.model);
  if ('file' in source) {
    // Only Stable Diffusion comes whole in one file; what the file is shows when it is opened.
    const kind = kindOf('StableDiffusionPipeline', () => false);
    return { ...kind, readsTexts: options.tokenizer !== undefined, takes: new Set([...kind.takes, 'tokenizer']) };
  }
  const component = await componentClass(source.folder, signal);
  if (component !== undefined) return kindOf(component, () => false);
  const index = await indexOf(source.folder, signal);
  if (!index) return kindOf('VQVAEPipeline', () => false);
  const named = (part: string) =>
    part === 'id2label'
      ? index.options['id2label'] !== undefined
      : (index.components.get(part)?.className ?? null) !== null;
  return kindOf(index.className, named);
}

/** What a pipeline's folder says; undefined for the files of a VQ-VAE and its priors. @throws as {@link readKind} */
async function indexOf(folder: Directory, signal?: AbortSignal): Promise<ModelIndex | undefined> {
  try {
    return await readModelIndex(folder, undefined, signal);
  } catch (error) {
    const files = error instanceof NotFoundError ? await folder.list(signal).catch(() => undefined) : undefined;
    if (files && isCodePriorFolder(files)) return undefined;
    throw error;
  }
}

/** The class of a folder with one component alone; undefined for a pipeline's. */
async function componentClass(folder: Directory, signal?: AbortSignal): Promise<string | undefined> {
  if ((await folder.has('model_index.json', signal)) || !(await folder.has('config.json', signal))) return undefined;
  const config = await readConfig(folder, undefined, { signal });
  return configClass(config) ?? originalKind(config)?.className;
}

/** Which of the options that not every kind takes were given. */
function given(options: GenerateOptions): Choice[] {
  const told = (name: 'steps' | 'guidance') => !options.untold?.includes(name);
  const all: Record<Choice, boolean> = {
    class: options.classes.length > 0,
    prompt: options.prompts !== undefined,
    negative: options.negative !== undefined,
    steps: told('steps'),
    guidance: told('guidance'),
    sampler: options.sampler !== undefined,
    eta: options.eta !== undefined,
    temperature: options.temperature !== undefined,
    width: options.width !== undefined,
    height: options.height !== undefined,
    image: options.image !== undefined,
    strength: options.strength !== undefined,
    mask: options.mask !== undefined,
    control: options.controls !== undefined,
    'noise-level': options.noiseLevel !== undefined,
    tokenizer: options.tokenizer !== undefined,
    codes: options.codes !== undefined,
    batch: options.batch > 1,
    count: options.count !== undefined,
  };
  return (Object.keys(all) as Choice[]).filter((name) => all[name]);
}

/**
 * Options against what the model is.
 * @throws UsageError for an option that it does not take, saying which do, or for one that it needs;
 * InvalidArgumentError for texts where nothing reads them
 */
export function checkKind(options: GenerateOptions, kind: Kind): void {
  const { className, task, takes, readsTexts } = kind;
  const wrong = given(options).find((name) => !takes.has(name));
  if (wrong) {
    const others = [...takes].map((name) => `--${name}`).join(', ');
    throw new UsageError(`--${wrong}: expected with ${TAKERS[wrong]}, got it with ${className}, which takes ${others}`);
  }
  if ((task === 'text' || task === 'enlargeByText') && !options.prompts) {
    throw new UsageError(`--prompt: expected with ${className}, got none; say what to see`);
  }
  if (options.prompts && !readsTexts) {
    const one = takes.has('tokenizer');
    throw new InvalidArgumentError(
      `--prompt: expected a model with a text encoder, got ${options.model}, ${one ? 'one file without tokenizer' : 'a folder without one'}; ` +
        (one ? 'name the folder of one by --tokenizer' : 'take the whole model, text_encoder and tokenizer included'),
    );
  }
  if (kind.needsImage && options.image === undefined) {
    const what = task === 'text' ? 'picture to edit' : task === 'vary' ? 'picture to vary' : 'small picture';
    throw new UsageError(`--image: expected with ${className}, got none; name the ${what}`);
  }
}
