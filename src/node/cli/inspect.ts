/** `daguerre inspect`: what a model is made of and what it would take, from its headers and configs alone: no GPU. */
import { FormatError, type Report } from '../../engine/index.ts';
import {
  type ByteSource,
  Checkpoint,
  configClass,
  type Directory,
  openWeights,
  readConfig,
  readModelIndex,
} from '../../loading/index.ts';
import { openSingleFile, type SingleFilePart } from '../../models/singleFile.ts';
import { EXIT } from './exit.ts';
import { openCodePriors } from './inspectCodePriors.ts';
import { openOriginalPart, titleByKeys } from './inspectOriginal.ts';
import { cellsOf, planWithin, type Planner, plannerOf } from './inspectPlans.ts';
import { openModelSource } from './modelFolder.ts';
import type { InspectOptions } from './program.ts';
import type { Terminal } from './terminal.ts';

interface Component {
  name: string;
  className: string;
  checkpoint: Checkpoint;
  /** Undefined where nothing says the network's options. */
  planner?: Planner;
}

/** What the parts of a single file are, where their configs do not say. */
const CLASSES: Readonly<Record<SingleFilePart, string>> = {
  unet: 'UNet2DConditionModel',
  vae: 'AutoencoderKL',
  text_encoder: 'CLIPTextModel',
  text_encoder_2: 'CLIPTextModelWithProjection',
  transformer: 'DiT',
};

function mebibytes(bytes: number): string {
  const value = bytes / 2 ** 20;
  return `${value.toFixed(value < 10 ? 2 : 1)} MiB`;
}

function count(value: number): string {
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  return value >= 1e3 ? `${(value / 1e3).toFixed(1)} k` : `${value} `;
}

/** Two columns, the first as wide as its widest entry. */
function table(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
}

/** A network on a grid so much finer than that of the pictures asked for. */
function enlarged(planner: Planner, by: number): Planner {
  const plan: Planner['plan'] = (cells, ...rest) =>
    planner.plan({ ...cells, height: by * cells.height, width: by * cells.width }, ...rest);
  return { ...planner, plan };
}

async function openComponent(
  name: string,
  directory: Directory,
  terminal: Terminal,
  { inAdm = false, staged = false } = {},
): Promise<Component> {
  const config = await readConfig(directory);
  const own = await openOriginalPart(config, directory, { name, inAdm });
  if (own) {
    if (!inAdm) terminal.out(`${own.title}, in the layout of its authors`);
    try {
      const planner = plannerOf(own.className, own.config, directory.name);
      return { ...own, name, planner: staged ? enlarged(planner, own.factor) : planner };
    } catch (error) {
      await own.checkpoint.close();
      throw error;
    }
  }
  const className = configClass(config) ?? 'unnamed class';
  const planner = plannerOf(configClass(config), config, directory.name);
  return { name, className, planner, checkpoint: await openWeights(directory) };
}

function describeWeights({ checkpoint }: Component): string {
  const infos = checkpoint.keys().map((key) => checkpoint.info(key));
  const elements = infos.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const types = [...new Set(infos.map(({ dtype }) => dtype))].join(' and ');
  return `${count(elements).trimEnd()} parameters in ${infos.length} tensors, ${mebibytes(checkpoint.totalBytes)} of ${types}`;
}

function describePlan(report: Report): string {
  const { dispatches, flops, weightBytes, peakBytes, liveBytes, largestBinding } = report;
  return (
    `${dispatches} dispatches, ${count(flops)}FLOP, weights ${mebibytes(weightBytes)}, activations ` +
    `${mebibytes(peakBytes)} (${(peakBytes / liveBytes).toFixed(2)} × what must live), ` +
    `largest binding ${mebibytes(largestBinding.bytes)} (${largestBinding.label})`
  );
}

/** One row per part, planned at the limits that every WebGPU device has, unless none are wanted. */
function plans(
  components: readonly Component[],
  options: InspectOptions,
): { heading: string; rows: [string, string][] } {
  const { batch, dtype, limits = 'default' } = options;
  const { cells, width, height } = cellsOf(
    components.flatMap(({ planner }) => planner ?? []),
    options,
  );
  const rows = components.flatMap(({ name, planner }): [string, string][] => {
    if (!planner) return [];
    const { report, excess } = planWithin(limits, planner, cells, dtype);
    const fits = excess === undefined ? 'fits' : `does not fit: ${excess}`;
    return [[planner.part ? `${name} ${planner.part}` : name, `${describePlan(report)}; ${fits}`]];
  });
  const pictures = batch === 1 ? '1 picture' : `${batch} pictures`;
  const where = limits === 'raised' ? 'for buffers of any size' : "at WebGPU's default limits";
  return { heading: `plan for ${pictures} of ${width}×${height} in ${dtype}, ${where}`, rows };
}

/** Parts with nothing to plan: schedulers, tokenizers, preprocessing, and checks of finished pictures. */
const NO_MODEL = /Scheduler$|Tokenizer|Extractor|Processor|SafetyChecker|Watermark/;

async function openFolder(directory: Directory, components: Component[], terminal: Terminal): Promise<void> {
  const priors = await openCodePriors(directory);
  if (priors) {
    terminal.out(priors.some(({ name }) => name === 'bottom') ? 'VQVAE2Pipeline' : 'VQVAEPipeline');
    components.push(...priors);
    return;
  }
  if (!(await directory.has('model_index.json'))) {
    components.push(await openComponent('model', directory, terminal));
    return;
  }
  const index = await readModelIndex(directory);
  const labels = index.options['id2label'];
  const names = labels && typeof labels === 'object' ? Object.entries(labels) : [];
  terminal.out(index.className);
  if (names.length) {
    const some = names.slice(0, 12).map((pair) => pair.join(' '));
    terminal.out(`  ${names.length} classes: ${some.join(', ')}`);
  }
  for (const [name, { className }] of index.components) {
    if (!className || NO_MODEL.test(className)) continue;
    const inAdm = index.className === 'ADMPipeline';
    const staged = Boolean(index.components.get('unet')?.className);
    components.push(await openComponent(name, directory.folder(name), terminal, { inAdm, staged }));
  }
}

/** A network whose config no weight tells; undefined for anything else. */
async function openNetwork(source: ByteSource): Promise<(Omit<Component, 'name'> & { title: string }) | undefined> {
  const checkpoint = await Checkpoint.open(source).catch(() => undefined);
  const own = checkpoint && titleByKeys(checkpoint);
  return own && { ...own, checkpoint };
}

/** A checkpoint in its authors' layout, taken apart by the shapes of its weights. */
async function openFile(source: ByteSource, components: Component[], terminal: Terminal): Promise<() => Promise<void>> {
  const file = await openSingleFile(source).catch(async (error: unknown) => {
    const own = error instanceof FormatError ? await openNetwork(source) : undefined;
    if (own) return own;
    await source.close?.();
    throw error;
  });
  if ('className' in file) {
    terminal.out(`${file.title}, in the layout of its authors; to plan and run it, put its config.json beside it`);
    components.push({ ...file, name: 'model' });
    return () => file.checkpoint.close();
  }
  try {
    terminal.out(`${file.kind}, in the layout of its authors`);
    for (const [name, { config, checkpoint }] of file.parts) {
      const className = configClass(config) ?? CLASSES[name];
      components.push({ name, className, checkpoint, planner: plannerOf(className, config, `${source.name} ${name}`) });
    }
    if (file.ignored.length > 0) terminal.out(`  ${file.ignored.length} tensors that no part reads`);
    return () => file.close();
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Status 0; a model that cannot be read or planned is an error of its own type. */
export async function inspectCommand(model: string, options: InspectOptions, terminal: Terminal): Promise<number> {
  const source = openModelSource(model);
  const components: Component[] = [];
  let close = async (): Promise<void> => {
    for (const { checkpoint } of components) await checkpoint.close();
  };
  try {
    if ('file' in source) close = await openFile(source.file, components, terminal);
    else await openFolder(source.folder, components, terminal);
    terminal.out('parts');
    const parts = components.map((part) => [`${part.name}: ${part.className}`, describeWeights(part)] as const);
    for (const line of table(parts)) terminal.out(line);
    const { heading, rows } = plans(components, options);
    if (rows.length) terminal.out(heading);
    for (const line of rows.length ? table(rows) : []) terminal.out(line);
    if (options.keys) {
      for (const { name, checkpoint } of components) {
        terminal.out(`tensors of ${name}`);
        const keys = checkpoint.keys().map((key) => [key, checkpoint.info(key)] as const);
        for (const line of table(keys.map(([key, { dtype, shape }]) => [key, `${dtype} [${shape.join(', ')}]`]))) {
          terminal.out(line);
        }
      }
    }
    return EXIT.ok;
  } finally {
    await close();
  }
}
