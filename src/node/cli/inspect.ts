/** `daguerre inspect`: what a model is made of and what it would take, from its headers and configs alone: no GPU. */
import { InvalidArgumentError } from '../../engine/errors.ts';
import type { Report } from '../../engine/index.ts';
import {
  type Checkpoint,
  configClass,
  type Directory,
  openWeights,
  type RawConfig,
  readConfig,
  readModelIndex,
} from '../../loading/index.ts';
import { planAutoencoderKL, planUNet2D, readAutoencoderKLConfig, readUNet2DConfig } from '../../models/index.ts';
import { EXIT } from './exit.ts';
import { modelFolder } from './modelFolder.ts';
import type { InspectOptions } from './program.ts';
import type { Terminal } from './terminal.ts';

interface Component {
  name: string;
  className: string;
  config: RawConfig;
  checkpoint: Checkpoint;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 1)} MB`;

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

async function openComponent(name: string, directory: Directory): Promise<Component> {
  const config = await readConfig(directory);
  return { name, config, className: configClass(config) ?? 'unnamed class', checkpoint: await openWeights(directory) };
}

function describeWeights({ checkpoint }: Component): string {
  const infos = checkpoint.keys().map((key) => checkpoint.info(key));
  const elements = infos.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const types = [...new Set(infos.map(({ dtype }) => dtype))].join(' and ');
  return `${count(elements).trimEnd()} parameters in ${infos.length} tensors, ${megabytes(checkpoint.totalBytes)} of ${types}`;
}

function describePlan(report: Report): string {
  const { dispatches, flops, weightBytes, peakBytes, liveBytes, largestBinding } = report;
  return (
    `${dispatches} dispatches, ${count(flops)}FLOP, weights ${megabytes(weightBytes)}, activations ` +
    `${megabytes(peakBytes)} (${(peakBytes / liveBytes).toFixed(2)} × what must live), ` +
    `largest binding ${megabytes(largestBinding.bytes)} (${largestBinding.label})`
  );
}

/** Plans at the limits that every WebGPU device has; one row per graph. */
function plans(
  components: readonly Component[],
  options: InspectOptions,
): { heading: string; rows: [string, string][] } {
  const { batch, dtype } = options;
  const rows: [string, string][] = [];
  const vae = components.find(({ className }) => className === 'AutoencoderKL');
  const unet = components.find(({ className }) => className === 'UNet2DModel');
  const vaeConfig = vae && readAutoencoderKLConfig(vae.config);
  const unetConfig = unet && readUNet2DConfig(unet.config);
  const factor = vaeConfig ? 2 ** (vaeConfig.blockOutChannels.length - 1) : 1;
  // A U-Net trained without a stated size gets the smallest picture that shows its proportions.
  const [rows0, columns0] = unetConfig?.sampleSize ?? [64 / factor, 64 / factor];
  const width = options.width ?? columns0 * factor;
  const height = options.height ?? rows0 * factor;
  if (width % factor || height % factor) {
    throw new InvalidArgumentError(
      `inspect: expected width and height in multiples of ${factor}, got ${width}×${height}`,
    );
  }
  const shape = { batch, width: width / factor, height: height / factor };
  if (unetConfig) {
    // Guidance runs the network on the picture with and without its class, in one batch.
    const pair = unetConfig.classEmbedding === 'none' ? batch : 2 * batch;
    rows.push([unet.name, describePlan(planUNet2D(unetConfig, { ...shape, batch: pair }, dtype))]);
  }
  if (vaeConfig) rows.push([`${vae.name} decode`, describePlan(planAutoencoderKL(vaeConfig, 'decode', shape, dtype))]);
  const pictures = batch === 1 ? '1 picture' : `${batch} pictures`;
  return { heading: `plan for ${pictures} of ${width}×${height} in ${dtype}, at WebGPU's default limits`, rows };
}

/** Status 0; a model that cannot be read or planned is an error of its own type. */
export async function inspectCommand(model: string, options: InspectOptions, terminal: Terminal): Promise<number> {
  const directory = modelFolder(model);
  const components: Component[] = [];
  try {
    if (await directory.has('model_index.json')) {
      const index = await readModelIndex(directory);
      const labels = index.options['id2label'];
      const names = labels && typeof labels === 'object' ? Object.entries(labels) : [];
      terminal.out(index.className);
      if (names.length)
        terminal.out(
          `  ${names.length} classes: ${names
            .slice(0, 12)
            .map((pair) => pair.join(' '))
            .join(', ')}`,
        );
      for (const [name, { className }] of index.components) {
        if (!className || /Scheduler$|Tokenizer|Extractor|Processor/.test(className)) continue;
        components.push(await openComponent(name, directory.folder(name)));
      }
    } else {
      components.push(await openComponent('model', directory));
    }
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
    for (const { checkpoint } of components) await checkpoint.close();
  }
}
