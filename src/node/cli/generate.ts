/** `daguerre generate`: from class names to PNG files. */
import { relative } from 'node:path';
import { TorchGenerator } from '../../sampler/index.ts';
import { AbortedError, describe, type GeneratedImage, Pipeline } from '../index.ts';
import { encodePng, type Raster, writeWhole } from '../png.ts';
import { EXIT, InterruptedError } from './exit.ts';
import { type GenerateOptions, type OutputPaths, outputPaths, resolveClasses } from './generateOptions.ts';
import { onInterrupt } from './interrupt.ts';
import { latentShape } from './modelFolder.ts';
import { Progress } from './progress.ts';
import { enlarge, gridFor, layOut, moments } from './sheet.ts';
import type { Terminal } from './terminal.ts';

/** More pictures than this are made in several runs, so that memory does not grow with their number. */
const AT_ONCE = 16;

/** Places on the developing strip, noise and done included. */
const STRIP_PLACES = 8;

/** One picture to make. */
export interface Order {
  label: number;
  seed: number;
}

export interface Made {
  pictures: Raster[];
  /** The first picture at several moments, and the numbers of the steps that were done by then. */
  strip: { raster: Raster; step: number }[];
  /** Milliseconds of every step, over all runs. */
  stepMs: number[];
  decodeMs: number;
  /** Pictures per run. */
  runs: number[];
}

export interface GenerateResult {
  paths: { sheet: string; strip: string; pictures: string[] };
  orders: Order[];
  made: Made;
}

/** Every class `batch` times; seeds count up, so that any picture can be made again alone. */
export function takeOrders(labels: readonly number[], batch: number, seed: number): Order[] {
  return labels.flatMap((label, i) =>
    Array.from({ length: batch }, (_, j) => ({ label, seed: (seed + i * batch + j) % 2 ** 32 })),
  );
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

const seconds = (ms: number): string => (ms < 9995 ? (ms / 1000).toFixed(2) : (ms / 1000).toFixed(1));

/** The middle of a list of times; the first step, which warms caches up, does not bend it. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What the first picture looked like before its first step: its noise, decoded. */
async function takeNoise(
  pipe: Pipeline,
  model: string,
  order: Order,
  size: Raster,
  signal: AbortSignal,
): Promise<Raster> {
  const shape = await latentShape(model, size);
  const noise = new TorchGenerator(order.seed).randn(shape.reduce((a, b) => a * b, 1));
  const images = await pipe.decode(noise, shape, signal);
  try {
    return await take(images[0]);
  } finally {
    images.forEach((image) => image.dispose());
  }
}

async function develop(
  pipe: Pipeline,
  orders: Order[],
  options: GenerateOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<Made> {
  const made: Made = { pictures: [], strip: [], stepMs: [], decodeMs: 0, runs: [] };
  const runs = splitOrders(orders);
  const { steps } = options;
  const total = steps * runs.length;
  let finished = 0;
  // Kernels are compiled before the first step, which takes its time on a software adapter.
  progress.update('developing', 0, total, 'compiling kernels');
  try {
    for (const [index, run] of runs.entries()) {
      const shown = new Set(index === 0 ? moments(steps, STRIP_PLACES) : []);
      const before = finished;
      const { images, timing } = await pipe({
        classLabels: run.map(({ label }) => label),
        numInferenceSteps: steps,
        guidanceScale: options.guidance,
        eta: options.eta,
        sampler: options.sampler,
        generator: run.map(({ seed }) => new TorchGenerator(seed)),
        width: options.width,
        height: options.height,
        signal,
        onStep: async ({ step, preview }) => {
          finished = before + step;
          progress.update('developing', finished, total, `step ${finished} of ${total}`);
          if (!shown.has(step)) return;
          const previews = await preview();
          try {
            made.strip.push({ raster: await take(previews[0]), step });
          } finally {
            previews.forEach((image) => image.dispose());
          }
        },
      });
      try {
        for (const image of images) made.pictures.push(await take(image));
      } finally {
        images.forEach((image) => image.dispose());
      }
      if (index === 0) {
        const noise = await takeNoise(pipe, options.model, run[0], made.pictures[0], signal);
        made.strip.unshift({ raster: noise, step: 0 });
      }
      made.stepMs.push(...timing.stepMs);
      made.decodeMs += timing.decodeMs;
      made.runs.push(run.length);
    }
  } catch (cause) {
    if (!(cause instanceof AbortedError)) throw cause;
    throw new InterruptedError(`stopped at step ${finished} of ${total}; no file was written`, { cause });
  }
  // The last place of the strip is the picture itself.
  made.strip = [...made.strip.filter(({ step }) => step < steps), { raster: made.pictures[0], step: steps }];
  return made;
}

async function writeFiles(
  paths: OutputPaths,
  orders: Order[],
  made: Made,
  options: GenerateOptions,
  names: (label: number) => string,
): Promise<GenerateResult['paths']> {
  const { width, height } = made.pictures[0];
  const scale = options.scale ?? (Math.min(width, height) < 128 ? 2 : 1);
  const big = made.pictures.map((picture) => enlarge(picture, scale));
  // With several pictures of each of several classes, a row is a class.
  const byClass = options.batch > 1 && orders.length > options.batch && options.batch <= 16;
  const columns = byClass ? options.batch : gridFor(big.length).columns;
  const strip = made.strip.map(({ raster }) => enlarge(raster, scale));
  // Everything is encoded before anything is written: a failure leaves no half of a result.
  const sheetFile = await encodePng(layOut(big, columns));
  const stripFile = await encodePng(layOut(strip, strip.length));
  const separate = options.separate ? await Promise.all(made.pictures.map((picture) => encodePng(picture))) : [];
  const sheetPath = await writeWhole(paths.sheet, sheetFile);
  const stripPath = await writeWhole(paths.strip, stripFile);
  const pictures: string[] = [];
  for (const [i, file] of separate.entries()) {
    const { label, seed } = orders[i];
    pictures.push(await writeWhole(paths.picture(i, orders.length, names(label), seed), file));
  }
  return { sheet: sheetPath, strip: stripPath, pictures };
}

/**
 * Makes the pictures and writes the files.
 * @throws InterruptedError when `signal` fires; UsageError when an option does not fit the model
 */
export async function generate(
  options: GenerateOptions,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<GenerateResult> {
  const progress = await Progress.open(terminal);
  let pipe: Pipeline | undefined;
  try {
    pipe = await Pipeline.fromPretrained(options.model, {
      adapter: options.adapter,
      dtype: options.dtype,
      signal,
      onProgress: (p) => {
        if (p.status === 'compile')
          progress.update('compiling', p.loaded, p.total, `${p.loaded} of ${p.total} pipelines`);
        else
          progress.update(
            'loading',
            p.loaded,
            p.total,
            `${p.file}, ${megabytes(p.loaded)} of ${megabytes(p.total)} MB`,
          );
      },
    });
    const { labels, device } = pipe;
    const orders = takeOrders(resolveClasses(options.classes, labels), options.batch, options.seed);
    const made = await develop(pipe, orders, options, progress, signal);
    progress.stop();
    const names = (label: number): string => labels[label] ?? `class ${label}`;
    const paths = await writeFiles(outputPaths(options), orders, made, options, names);

    const count = orders.length === 1 ? '1 picture' : `${orders.length} pictures`;
    const seeds = orders.length === 1 ? `seed ${orders[0].seed}` : `seeds ${orders[0].seed} to ${orders.at(-1)!.seed}`;
    const perRun = Math.max(...made.runs);
    const files = [shorten(paths.sheet), shorten(paths.strip)];
    const width = Math.max(...files.map((file) => file.length));
    terminal.out(`${files[0].padEnd(width)}  ${count}, ${seeds}`);
    terminal.out(`${files[1].padEnd(width)}  ${names(orders[0].label)} developing, ${options.steps} steps`);
    for (const path of paths.pictures) terminal.out(shorten(path));
    const pictures = perRun === 1 ? '1 picture' : `${perRun} pictures`;
    terminal.out(`${seconds(median(made.stepMs))} s per step of ${pictures}, ${seconds(made.decodeMs)} s to decode`);
    terminal.out(`on ${describe(device.info)}`);
    return { paths, orders, made };
  } catch (error) {
    if (error instanceof AbortedError) throw new InterruptedError('stopped while loading; no file was written');
    throw error;
  } finally {
    progress.stop();
    await pipe?.dispose();
  }
}

/** A path as short as it can be said from here. */
function shorten(path: string): string {
  const near = relative(process.cwd(), path);
  return near.startsWith('..') ? path : near;
}

/** `daguerre generate`: status 0 when the files are written. */
export async function generateCommand(options: GenerateOptions, terminal: Terminal): Promise<number> {
  const interrupt = onInterrupt();
  const { signal } = interrupt;
  let patience: NodeJS.Timeout | undefined;
  signal.addEventListener('abort', () => {
    // Mostly it ends sooner than anyone could read this; compiling on a software adapter may take seconds.
    patience = setTimeout(() => terminal.note('\nstopping after the work in hand; Ctrl-C again ends it at once'), 700);
  });
  try {
    await generate(options, terminal, signal);
    return EXIT.ok;
  } finally {
    clearTimeout(patience);
    interrupt.dispose();
  }
}

const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
