/** What each kind of pipeline makes pictures from, and which options of `daguerre generate` say so. */
import { EDM_CLASSES } from '../../models/edm/edmConfig.ts';
import { NCSNV2_CLASSES } from '../../models/scoreSde/ncsnv2Config.ts';

/**
 * What pictures are made from: a class, a text, noise alone, a small picture, a small picture and a text, a picture
 * that is to be varied, or a picture that goes through an autoencoder and back, or its codes.
 */
export type Task = 'class' | 'text' | 'noise' | 'enlarge' | 'enlargeByText' | 'vary' | 'codes';

/** Options that not every kind takes. */
export type Choice =
  | 'class'
  | 'prompt'
  | 'negative'
  | 'steps'
  | 'guidance'
  | 'sampler'
  | 'eta'
  | 'temperature'
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

/** Whether a folder has a part, or a field, of that name. */
export type Has = (part: string) => boolean;

/** A kind of pipeline, beside what its task says of it. */
export interface Row {
  task: Task;
  /** Options beyond those of the task, and those of the task that it does not take. */
  also?: readonly Choice[];
  but?: readonly Choice[];
  /** Whether it makes nothing without a picture. */
  needsImage?: boolean;
  /** What the pipeline calls the number of steps, which several of its stages may have, and the scale of guidance. */
  steps?: readonly string[];
  guidance?: string;
}

/** What the tasks take, and how a message calls such models. */
export const TASKS: Readonly<Record<Task, { called: string; takes: readonly Choice[]; needsImage?: boolean }>> = {
  class: {
    called: 'models of classes (ClassLatentDiffusionPipeline, DiTPipeline)',
    takes: ['class', 'steps', 'guidance', 'sampler', 'eta', 'width', 'height', 'batch'],
  },
  text: {
    called: 'models of texts (StableDiffusionPipeline and its like)',
    takes: ['prompt', 'negative', 'steps', 'guidance', 'eta', 'width', 'height', 'image', 'strength', 'mask', 'batch'],
  },
  noise: {
    called: 'models without texts (DDPMPipeline, LDMPipeline and their like)',
    takes: ['count', 'class', 'steps', 'eta', 'width', 'height'],
  },
  enlarge: {
    called: 'LDMSuperResolutionPipeline and networks of ADM that enlarge',
    takes: ['image', 'steps', 'eta', 'batch'],
    needsImage: true,
  },
  enlargeByText: {
    called: 'StableDiffusionUpscalePipeline and IFSuperResolutionPipeline',
    takes: ['prompt', 'negative', 'image', 'noise-level', 'steps', 'guidance', 'eta', 'batch'],
    needsImage: true,
  },
  vary: { called: 'UnCLIPImageVariationPipeline', takes: ['image', 'steps', 'guidance', 'batch'], needsImage: true },
  codes: { called: 'autoencoders (VQModel, AutoencoderKL, AutoencoderTiny)', takes: ['image'] },
};

const PICTURES = 'StableDiffusionPipeline, FluxPipeline and their like';
const SIZES = 'models whose pictures do not start from a small one';

/** Who takes an option, for messages. */
export const TAKERS: Readonly<Record<Choice, string>> = {
  class: TASKS.class.called,
  prompt: TASKS.text.called,
  negative: TASKS.text.called,
  steps: 'models that denoise in steps',
  guidance: 'models of classes or texts',
  sampler: TASKS.class.called,
  eta: 'models whose schedule is not a straight flow',
  temperature: 'models that draw codes (VQVAE2Pipeline, VQVAEPipeline)',
  width: SIZES,
  height: SIZES,
  image: `${PICTURES}, and pipelines of super-resolution and variation`,
  strength: PICTURES,
  mask: PICTURES,
  control: 'StableDiffusionControlNetPipeline and StableDiffusionXLControlNetPipeline',
  'noise-level': TASKS.enlargeByText.called,
  tokenizer: 'checkpoints in one file',
  codes: 'autoencoders with a codebook (VQModel)',
  batch: 'models of classes or texts, and super-resolution; those without texts take --count',
  count: TASKS.noise.called,
};

const named = (names: readonly string[], row: Row): Record<string, Row> =>
  Object.fromEntries(names.map((name) => [name, row]));

const SD = ['StableDiffusion', 'StableDiffusionXL'];
const FORMS = ['', 'Img2Img', 'Inpaint'];
const inForms = (families: readonly string[], forms: readonly string[]) =>
  families.flatMap((family) => forms.map((form) => `${family}${form}Pipeline`));

/** Kinds by the `_class_name` of their folders. */
const ROWS: Readonly<Record<string, Row>> = {
  ...named(['ClassLatentDiffusionPipeline', 'DiTPipeline'], { task: 'class' }),
  ...named([...inForms(SD, FORMS), ...inForms(['LatentConsistencyModel'], ['', 'Img2Img'])], { task: 'text' }),
  ...named(inForms(SD, ['ControlNet']), { task: 'text', also: ['control'] }),
  ...named(inForms(SD, ['InstructPix2Pix']), { task: 'text', but: ['strength', 'mask'], needsImage: true }),
  ...named(inForms(['StableDiffusion3'], FORMS), { task: 'text', but: ['eta'] }),
  ...named(inForms(['Flux'], FORMS), { task: 'text', but: ['eta', 'negative'] }),
  IFPipeline: { task: 'text', but: ['image', 'strength', 'mask'] },
  UnCLIPPipeline: {
    task: 'text',
    but: ['image', 'strength', 'mask', 'eta', 'width', 'height'],
    steps: ['priorNumInferenceSteps', 'decoderNumInferenceSteps'],
    guidance: 'decoderGuidanceScale',
  },
  UnCLIPImageVariationPipeline: {
    task: 'vary',
    steps: ['decoderNumInferenceSteps'],
    guidance: 'decoderGuidanceScale',
  },
  ...named(['DDPMPipeline', 'DDIMPipeline', 'PNDMPipeline', 'ScoreSdeVePipeline', 'KarrasVePipeline'], {
    task: 'noise',
  }),
  ...named(['ConsistencyModelPipeline', 'LDMPipeline'], { task: 'noise' }),
  ...named(['VQVAEPipeline', 'VQVAE2Pipeline'], {
    task: 'noise',
    also: ['temperature'],
    but: ['class', 'steps', 'eta', 'width', 'height'],
  }),
  // Networks alone, in their authors' folders.
  ...named([...EDM_CLASSES, 'NCSNpp', 'UNetModel'], { task: 'noise', but: ['eta'] }),
  ...named(NCSNV2_CLASSES, { task: 'noise', but: ['class', 'steps', 'eta'] }),
  SuperResModel: { task: 'enlarge', also: ['class'] },
  LDMSuperResolutionPipeline: { task: 'enlarge' },
  StableDiffusionUpscalePipeline: { task: 'enlargeByText' },
  IFSuperResolutionPipeline: { task: 'enlargeByText' },
  ...named(['AutoencoderKL', 'AutoencoderTiny'], { task: 'codes' }),
  VQModel: { task: 'codes', also: ['codes', 'count', 'width', 'height'] },
};

/** Classes whose folders differ in what they hold. */
const BY_PARTS: Readonly<Record<string, (has: Has) => Row>> = {
  ADMPipeline: (has) => {
    const guidance = has('classifier') ? (['guidance'] as const) : [];
    const own = { guidance: 'classifierScale', also: ['class', 'sampler', ...guidance] as const };
    if (!has('unet') && has('upsampler')) return { task: 'enlarge', ...own };
    return { task: 'noise', ...own, also: [...own.also, ...(has('upsampler') ? (['image'] as const) : [])] };
  },
};

/** The classes that `daguerre generate` knows by name. */
export const KNOWN_CLASSES: readonly string[] = [...Object.keys(ROWS), ...Object.keys(BY_PARTS)];

/** The row of a `_class_name`; kinds that are not in the table are told apart by their parts. */
export function rowOf(className: string, has: Has): Row {
  if (Object.hasOwn(ROWS, className)) return ROWS[className];
  if (Object.hasOwn(BY_PARTS, className)) return BY_PARTS[className](has);
  return { task: has('id2label') ? 'class' : has('text_encoder') || has('tokenizer') ? 'text' : 'noise' };
}
