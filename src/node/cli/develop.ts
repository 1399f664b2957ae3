/** The pictures of `daguerre generate`, run by run, and the first of them at several moments. */
import { TorchGenerator } from '../../sampler/index.ts';
import {
  AbortedError,
  type ClassToImageOptions,
  type GeneratedImage,
  type GenerationResult,
  type Pipeline,
  type StepProgress,
} from '../index.ts';
import type { Raster } from '../png.ts';
import { InterruptedError } from './exit.ts';
import type { Kind } from './generateKinds.ts';
import type { GenerateOptions } from './generateOptions.ts';
import type { GivenPictures } from './pictureFiles.ts';
import type { Progress } from './progress.ts';
import { moments, resizeNearest } from './sheet.ts';
import type { Terminal } from './terminal.ts';

/** More pictures than this are made in several runs, so that memory does not grow with their number. */
const AT_ONCE = 16;

/** Places on the developing strip, noise and done included. */
const STRIP_PLACES = 8;

/** One picture to make. */
export interface Order {
  /** Of what: a class, or a text; neither where it comes from noise or a small picture alone. */
  label?: number;
  prompt?: string;
  seed: number;
}

export interface Made {
  pictures: Raster[];
  /** The first picture at several moments, and the numbers of the steps that were done by then. */
  strip: { raster: Raster; step: number }[];
  /** Steps of each run. */
  steps: number;
  /** Milliseconds of every step, over all runs. */
  stepMs: number[];
  decodeMs: number;
  /** Pictures per run. */
  runs: number[];
}

/** Runs of nearly equal length, none longer than `most`. */
export function splitOrders<T>(orders: readonly T[], most = AT_ONCE): T[][] {
  const runs = Math.ceil(orders.length / most);
  const cut = (i: number): number => Math.round((i * orders.length) / runs);
  return Array.from({ length: runs }, (_, i) => orders.slice(cut(i), cut(i + 1)));
}

async function take(image: GeneratedImage): Promise<Raster> {
  const { width, height } = image;
  return { width, height, data: await image.toRgba() };
}

/** What the first picture came from, decoded; latents are [B,C,h,w], of the size of the picture. */
async function takeLatents(
  pipe: Pipeline,
  { latents, images }: GenerationResult,
  start: (length: number) => Float32Array,
  signal: AbortSignal,
): Promise<Raster> {
  // Every kind has it; the table of pipelines does not promise it.
  const { downsampling } = pipe;
  const [height, width] = [images[0].height / downsampling, images[0].width / downsampling];
  const length = latents.length / images.length;
  const decoded = await pipe.decode(start(length), [1, length / (height * width), height, width], signal);
  try {
    return await take(decoded[0]);
  } finally {
    decoded.forEach((image) => image.dispose());
  }
}

/** The call of a pipeline that makes a run of pictures. */
function callOf(kind: Kind, run: readonly Order[], options: GenerateOptions, { image, mask, controls }: GivenPictures) {
  const { steps, guidance, untold = [], negative, strength, eta, sampler } = options;
  // A model of classes has the command's own defaults; any other kind its authors'.
  const own = kind.task === 'class' ? [] : untold;
  const labels = run.map(({ label }) => label).filter((label) => label !== undefined);
  const prompts = run.map(({ prompt }) => prompt).filter((prompt) => prompt !== undefined);
  // What controls has the size of the result.
  const size = image ? undefined : controls?.[0];
  const given = {
    classLabels: labels.length > 0 ? labels : undefined,
    prompt: prompts.length > 0 ? prompts : undefined,
    negativePrompt: negative,
    batchSize: kind.task === 'noise' ? run.length : undefined,
    numImagesPerPrompt: kind.task === 'vary' ? run.length : undefined,
    ...Object.fromEntries(own.includes('steps') ? [] : kind.steps.map((name) => [name, steps])),
    [kind.guidance]: own.includes('guidance') ? undefined : guidance,
    eta,
    temperature: options.temperature,
    sampler,
    image,
    maskImage: mask,
    controlImage: controls,
    strength,
    noiseLevel: options.noiseLevel,
    generator: run.map(({ seed }) => new TorchGenerator(seed)),
    width: options.width ?? size?.width,
    height: options.height ?? size?.height,
  };
  // Pipelines spread what they are given over their defaults.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/**
 * Where a run stands: steps before the stage, its own ones, those of its schedule that are left out, those on the
 * strip.
 */
interface Stage {
  stage: string | undefined;
  done: number;
  steps: number;
  left: number;
  shown: ReadonlySet<number>;
}

/** What to make pictures with, and which. */
export interface Work {
  pipe: Pipeline;
  kind: Kind;
  orders: Order[];
  pictures: GivenPictures;
}

/**
 * Makes the pictures.
 * @throws InterruptedError when `signal` fires; what the pipeline throws
 */
export async function develop(
  { pipe, kind, orders, pictures }: Work,
  options: GenerateOptions,
  progress: Progress,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<Made> {
  const made: Made = { pictures: [], strip: [], steps: options.steps, stepMs: [], decodeMs: 0, runs: [] };
  // Super-resolution makes one result of each picture that it is given.
  const runs = splitOrders(orders, kind.task === 'enlarge' ? 1 : AT_ONCE);
  let total = kind.takes.has('steps') ? made.steps * runs.length : 0;
  let finished = 0;
  const warned = new Set<string>();
  const onWarning = ({ message }: { message: string }): void => {
    if (!warned.has(message)) terminal.note(`warning: ${message}`);
    warned.add(message);
  };
  // Kernels are compiled before the first step, which takes its time on a software adapter.
  progress.update('developing', 0, total, 'compiling kernels');
  try {
    for (const [index, run] of runs.entries()) {
      let at: Stage | undefined;
      const before = finished;
      const call = {
        ...callOf(kind, run, options, pictures),
        signal,
        onWarning,
        onStep: async ({ step: place, steps: places, preview, stage }: StepProgress & { stage?: string }) => {
          // Stages count their own steps; a picture to start from leaves the first ones of the schedule out.
          if (at === undefined || at.stage !== stage) {
            const done = at ? at.done + at.steps : 0;
            const [left, steps] = [place - 1, places - place + 1];
            at = { stage, done, left, steps, shown: new Set(index === 0 ? moments(steps, STRIP_PLACES) : []) };
            made.steps = index === 0 ? done + steps : Math.max(made.steps, done + steps);
            total = made.steps * runs.length;
          }
          const step = at.done + place - at.left;
          finished = before + step;
          progress.update('developing', finished, total, `step ${finished} of ${total}`);
          if (!at.shown.has(place - at.left)) return;
          const previews = await preview();
          try {
            // What a prior of embeddings makes is no picture.
            if (previews.length > 0) made.strip.push({ raster: await take(previews[0]), step });
          } finally {
            previews.forEach((image) => image.dispose());
          }
        },
      };
      const result = await pipe(call as unknown as ClassToImageOptions);
      const { images, timing } = result;
      try {
        for (const image of images) made.pictures.push(await take(image));
        if (index === 0)
          made.strip.unshift({ raster: await origin(pipe, kind, pictures, result, run, signal), step: 0 });
      } finally {
        images.forEach((image) => image.dispose());
      }
      made.stepMs.push(...timing.stepMs);
      made.decodeMs += timing.decodeMs;
      made.runs.push(run.length);
    }
  } catch (cause) {
    if (!(cause instanceof AbortedError)) throw cause;
    throw new InterruptedError(`stopped at step ${finished} of ${total}; no file was written`, { cause });
  }
  // The last place of the strip is the picture itself, whose size the pictures of earlier stages take.
  const [last] = made.pictures;
  const developing = made.strip.filter(({ step }) => step < made.steps);
  made.strip = [...developing, { raster: last, step: made.steps }].map(({ raster, step }) => {
    return { raster: resizeNearest(raster, last.width, last.height), step };
  });
  return made;
}

/** Where the first picture starts: at the picture that it is made from, or at its noise. */
function origin(
  pipe: Pipeline,
  { task, takes }: Kind,
  { image }: GivenPictures,
  result: GenerationResult,
  run: readonly Order[],
  signal: AbortSignal,
): Promise<Raster> {
  if ((task === 'text' || task === 'vary') && image) return Promise.resolve(image);
  // Codes come from nothing: before the first is drawn all of them are 0.
  if (takes.has('temperature')) return takeLatents(pipe, result, (length) => new Float32Array(length), signal);
  return takeLatents(pipe, result, (length) => new TorchGenerator(run[0].seed).randn(length), signal);
}
