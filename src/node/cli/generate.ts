/** `daguerre generate`: from classes, texts, pictures or noise alone to PNG files. */
import { relative } from 'node:path';
import { AbortedError, describe, Pipeline } from '../index.ts';
import { encodePng, writeWhole } from '../png.ts';
import { develop, type Made, type Order } from './develop.ts';
import { EXIT, InterruptedError } from './exit.ts';
import { checkKind, type Kind, readKind } from './generateKinds.ts';
import { type GenerateOptions, type OutputPaths, outputPaths, resolveClasses } from './generateOptions.ts';
import { onInterrupt } from './interrupt.ts';
import { readPictures, type GivenPictures } from './pictureFiles.ts';
import { Progress } from './progress.ts';
import { reconstruct } from './reconstruct.ts';
import { enlarge, gridFor, layOut } from './sheet.ts';
import type { Terminal } from './terminal.ts';

export interface GenerateResult {
  /** An autoencoder has no strip, but its codes. */
  paths: { sheet: string; strip?: string; pictures: string[]; codes?: string };
  orders: Order[];
  made: Made;
}

/** Every class or text `batch` times; seeds count up, so that any picture can be made again alone. */
export function takeOrders(of: readonly (number | string | undefined)[], batch: number, seed: number): Order[] {
  return of.flatMap((what, i) =>
    Array.from({ length: batch }, (_, j) => {
      const own = { seed: (seed + i * batch + j) % 2 ** 32 };
      if (what === undefined) return own;
      return typeof what === 'number' ? { label: what, ...own } : { prompt: what, ...own };
    }),
  );
}

/** What was asked for, with a kind that takes it. */
function ordersFor(kind: Kind, options: GenerateOptions, labels: Readonly<Record<number, string>>): Order[] {
  const { classes, prompts = [undefined], batch, count = 1, seed } = options;
  if (kind.task === 'class') return takeOrders(resolveClasses(classes, labels), batch, seed);
  const each = kind.task === 'noise' ? count : batch;
  if (classes.length > 0) return takeOrders(resolveClasses(classes, labels), each, seed);
  return takeOrders(kind.task === 'noise' ? [undefined] : prompts, each, seed);
}

const seconds = (ms: number): string => (ms < 9995 ? (ms / 1000).toFixed(2) : (ms / 1000).toFixed(1));

/** The middle of a list of times; the first step, which warms caches up, does not bend it. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

async function writeFiles(
  paths: OutputPaths,
  orders: Order[],
  made: Made,
  options: GenerateOptions,
  names: (order: Order) => string,
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
    pictures.push(await writeWhole(paths.picture(i, orders.length, names(orders[i]), orders[i].seed), file));
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
    const kind = await readKind(options, signal);
    checkKind(options, kind);
    const pictures = await readPictures(options);
    pipe = await Pipeline.fromPretrained(options.model, {
      adapter: options.adapter,
      limits: options.limits ?? 'auto',
      dtype: options.dtype,
      tokenizer: options.tokenizer,
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
    if (kind.task === 'codes')
      return await throughCodes(pipe, options, pictures, terminal, signal, () => progress.stop());
    const orders = ordersFor(kind, options, labels);
    const made = await develop({ pipe, kind, orders, pictures }, options, progress, terminal, signal);
    progress.stop();
    const names = ({ label, prompt }: Order): string =>
      label === undefined ? (prompt ?? 'picture') : (labels[label] ?? `class ${label}`);
    const paths = await writeFiles(outputPaths(options), orders, made, options, names);

    const count = orders.length === 1 ? '1 picture' : `${orders.length} pictures`;
    const seeds = orders.length === 1 ? `seed ${orders[0].seed}` : `seeds ${orders[0].seed} to ${orders.at(-1)!.seed}`;
    const steps = made.steps === 1 ? '1 step' : `${made.steps} steps`;
    const perRun = Math.max(...made.runs);
    const files = [shorten(paths.sheet), shorten(paths.strip!)];
    const width = Math.max(...files.map((file) => file.length));
    terminal.out(`${files[0].padEnd(width)}  ${count}, ${seeds}`);
    terminal.out(`${files[1].padEnd(width)}  ${clipped(names(orders[0]))} developing, ${steps}`);
    for (const path of paths.pictures) terminal.out(shorten(path));
    const atOnce = perRun === 1 ? '1 picture' : `${perRun} pictures`;
    terminal.out(`${seconds(median(made.stepMs))} s per step of ${atOnce}, ${seconds(made.decodeMs)} s to decode`);
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

/** An autoencoder has no steps to show: one sheet, and its codes. */
async function throughCodes(
  pipe: Pipeline,
  options: GenerateOptions,
  pictures: GivenPictures,
  terminal: Terminal,
  signal: AbortSignal,
  done: () => void,
): Promise<GenerateResult> {
  const { sheet, codes, pictures: made, psnr } = await reconstruct(pipe, options, pictures, signal);
  done();
  const what = options.image === undefined ? `${made.length} of codes` : 'the picture, and what came back';
  terminal.out(`${shorten(sheet)}  ${what}${psnr === undefined ? '' : `, ${psnr.toFixed(1)} dB`}`);
  if (codes !== undefined) terminal.out(`${shorten(codes)}  codes; edit them and pass them by --codes`);
  terminal.out(`on ${describe(pipe.device.info)}`);
  const none = { strip: [], steps: 0, stepMs: [], decodeMs: 0, runs: [made.length] };
  return { paths: { sheet, pictures: [], codes }, orders: [], made: { ...none, pictures: made } };
}

/** A text that fits a line. */
const clipped = (text: string): string => (text.length > 60 ? `${text.slice(0, 59)}…` : text);

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
