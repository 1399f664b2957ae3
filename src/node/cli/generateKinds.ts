/** What each kind of pipeline makes pictures from, and which options of `daguerre generate` say so. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import { configClass, readConfig, readModelIndex, type Directory } from '../../loading/index.ts';
import { UsageError } from './exit.ts';
import type { GenerateOptions } from './generateOptions.ts';
import { openModelSource } from './modelFolder.ts';

/**
 * What pictures are made from: a class, a text, noise alone, a small picture, a small picture and a text, or a picture that
 * goes through an autoencoder and back, or its codes.
 */
export type Task = 'class' | 'text' | 'noise' | 'enlarge' | 'enlargeByText' | 'codes';

/** Options that not every kind takes. */
type Choice =
  | 'class'
  | 'prompt'
  | 'negative'
  | 'guidance'
  | 'sampler'
  | 'eta'
  | 'width'
  | 'height'
  | 'image'
  | 'strength'
  | 'mask'
  | 'control'
  | 'noise-level'
  | 'tokenizer'
  | 'codes'
  | 'batch'
  | 'count';

/** A kind of pipeline, as far as options go. */
export interface Kind {
  /** `_class_name` of its folder. */
  className: string;
  task: Task;
  /** Whether texts can be read; a folder may come without text encoder. */
  readsTexts: boolean;
  takes: ReadonlySet<Choice>;
}

/** What the tasks take, and how a message calls such models. */
const TASKS: Readonly<Record<Task, { called: string; takes: readonly Choice[] }>> = {
  class: {
    called: 'models of classes (ClassLatentDiffusionPipeline, DiTPipeline)',
    takes: ['class', 'guidance', 'sampler', 'eta', 'width', 'height', 'batch'],
  },
  text: {
    called: 'models of texts (StableDiffusionPipeline and its like)',
    takes: ['prompt', 'negative', 'guidance', 'eta', 'width', 'height', 'image', 'strength', 'mask', 'batch'],
  },
  noise: {
    called: 'models without texts (DDPMPipeline, LDMPipeline and their like)',
    takes: ['count', 'class', 'eta', 'width', 'height'],
  },
  enlarge: { called: 'LDMSuperResolutionPipeline', takes: ['image', 'eta', 'batch'] },
  enlargeByText: {
    called: 'StableDiffusionUpscalePipeline',
    takes: ['prompt', 'negative', 'image', 'noise-level', 'guidance', 'eta', 'batch'],
  },
  codes: { called: 'autoencoders (VQModel, AutoencoderKL, AutoencoderTiny)', takes: ['image'] },
};

/** Who takes an option, for messages. */
const TAKERS: Readonly<Record<Choice, string>> = {
  class: TASKS.class.called,
  prompt: TASKS.text.called,
  negative: TASKS.text.called,
  guidance: 'models of classes or texts',
  sampler: TASKS.class.called,
  eta: 'models whose schedule is not a straight flow',
  width: 'models whose pictures do not start from a small one',
  height: 'models whose pictures do not start from a small one',
  image: 'StableDiffusionPipeline, StableDiffusion3Pipeline and their like, and pipelines of super-resolution',
  strength: 'StableDiffusionPipeline, StableDiffusion3Pipeline and their like',
  mask: 'StableDiffusionPipeline, StableDiffusion3Pipeline and their like',
  control: 'StableDiffusionControlNetPipeline and StableDiffusionXLControlNetPipeline',
  'noise-level': TASKS.enlargeByText.called,
  tokenizer: 'checkpoints in one file',
  codes: 'autoencoders with a codebook (VQModel)',
  batch: 'models of classes or texts, and super-resolution; those without texts take --count',
  count: TASKS.noise.called,
};

/** By `_class_name`; kinds that are not here are told apart by their parts. */
function taskOf(className: string, has: (part: string) => boolean): Task {
  if (/^(VQModel|AutoencoderKL|AutoencoderTiny)$/.test(className)) return 'codes';
  if (className === 'LDMSuperResolutionPipeline') return 'enlarge';
  if (className === 'StableDiffusionUpscalePipeline') return 'enlargeByText';
  if (/^(ClassLatentDiffusion|DiT)Pipeline$/.test(className)) return 'class';
  if (/^(StableDiffusion|LatentConsistency|Flux)/.test(className)) return 'text';
  if (/^(DDPM|DDIM|PNDM|ScoreSdeVe|KarrasVe|ConsistencyModel|LDM|ADM)Pipeline$/.test(className)) return 'noise';
  return has('id2label') ? 'class' : has('text_encoder') || has('tokenizer') ? 'text' : 'noise';
}

/** The kind of a `_class_name`. @param has whether the folder has a part or field of that name */
export function kindOf(className: string, has: (part: string) => boolean): Kind {
  const task = taskOf(className, has);
  const takes = new Set(TASKS[task].takes);
  if (/^(StableDiffusion3|Flux)/.test(className)) takes.delete('eta');
  if (className.startsWith('Flux'))
    (['image', 'strength', 'mask', 'negative'] as const).forEach((c) => takes.delete(c));
  if (className === 'VQModel') (['codes', 'count', 'width', 'height'] as const).forEach((c) => takes.add(c));
  if (className === 'ADMPipeline') (['sampler', 'guidance'] as const).forEach((c) => takes.add(c));
  if (/ControlNet/.test(className) || (task === 'text' && has('controlnet'))) takes.add('control');
  return { className, task, readsTexts: has('text_encoder') || has('text_encoder_2'), takes };
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
  const index = await readModelIndex(source.folder, undefined, signal);
  const named = (part: string) =>
    part === 'id2label'
      ? index.options['id2label'] !== undefined
      : (index.components.get(part)?.className ?? null) !== null;
  return kindOf(index.className, named);
}

/** The class of a folder with one component alone; undefined for a pipeline's. */
async function componentClass(folder: Directory, signal?: AbortSignal): Promise<string | undefined> {
  if ((await folder.has('model_index.json', signal)) || !(await folder.has('config.json', signal))) return undefined;
  return configClass(await readConfig(folder, undefined, { signal }));
}

/** Which of the options that not every kind takes were given. */
function given(options: GenerateOptions): Choice[] {
  const told = (name: 'steps' | 'guidance') => !options.untold?.includes(name);
  const all: Record<Choice, boolean> = {
    class: options.classes.length > 0,
    prompt: options.prompts !== undefined,
    negative: options.negative !== undefined,
    guidance: told('guidance'),
    sampler: options.sampler !== undefined,
    eta: options.eta !== undefined,
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
 * @throws UsageError for an option that it does not take, saying which do, or for one that it needs; InvalidArgumentError
 * for texts where nothing reads them
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
  if ((task === 'enlarge' || task === 'enlargeByText') && options.image === undefined) {
    throw new UsageError(`--image: expected with ${className}, got none; name the small picture`);
  }
}
