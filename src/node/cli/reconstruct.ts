/** `daguerre generate` with an autoencoder: a picture, its codes, and what comes back; or pictures of codes. */
import { readFile } from 'node:fs/promises';
import { codePicture } from '../../pipelines/autoencoder/codePicture.ts';
import type { AutoencoderResult, Codes } from '../../pipelines/autoencoder/autoencoderPipeline.ts';
import { TorchGenerator } from '../../sampler/index.ts';
import type { Pipeline } from '../index.ts';
import { encodePng, writeWhole, type Raster } from '../png.ts';
import { UsageError } from './exit.ts';
import { outputPaths, type GenerateOptions } from './generateOptions.ts';
import type { GivenPictures } from './pictureFiles.ts';
import { enlarge, gridFor, layOut } from './sheet.ts';

/** What was written, and how near a reconstruction is. */
export interface Reconstructed {
  sheet: string;
  /** Indices as JSON, where there is a codebook. */
  codes?: string;
  pictures: Raster[];
  /** Decibels, of a picture that was given. */
  psnr?: number;
}

/** Codes as `--codes` reads them. @throws UsageError for a file that is none */
export async function readCodes(path: string): Promise<Codes> {
  const wrong = (why: string, cause?: unknown) =>
    new UsageError(`--codes: expected a JSON file {"shape": [B,h,w], "data": […]}, got ${path}, ${why}`, { cause });
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw wrong('which cannot be read', cause);
  }
  let json: { shape?: unknown; data?: unknown };
  try {
    json = JSON.parse(text) as typeof json;
  } catch (cause) {
    throw wrong('which is no JSON', cause);
  }
  const { shape, data } = json;
  const natural = (list: unknown): list is number[] =>
    Array.isArray(list) && list.every((v) => Number.isInteger(v) && v >= 0);
  if (!natural(shape) || shape.length !== 3 || !natural(data) || data.length !== shape[0] * shape[1] * shape[2]) {
    throw wrong('which holds something else');
  }
  return { data: Uint32Array.from(data), shape: [shape[0], shape[1], shape[2]] };
}

/**
 * Takes a picture through the autoencoder, or makes pictures of codes (given, or drawn), and writes a sheet: picture,
 * codes, result for each. @throws UsageError, and what the pipeline throws
 */
export async function reconstruct(
  pipe: Pipeline,
  options: GenerateOptions,
  { image }: GivenPictures,
  signal: AbortSignal,
): Promise<Reconstructed> {
  const { codes: codesPath, count = 1, seed, width, height } = options;
  const indices = codesPath === undefined ? undefined : await readCodes(codesPath);
  const drawn = image || indices ? undefined : Array.from({ length: count }, (_, i) => new TorchGenerator(seed + i));
  const result: AutoencoderResult = await pipe({
    image: image && { ...image, data: Uint8ClampedArray.from(image.data) },
    indices,
    ...(drawn && { generator: drawn, width, height }),
    signal,
  });
  const pictures: Raster[] = [];
  try {
    for (const made of result.images) {
      pictures.push({ width: made.width, height: made.height, data: await made.toRgba() });
    }
  } finally {
    result.images.forEach((made) => made.dispose());
  }
  const scale = options.scale ?? (Math.min(pictures[0].width, pictures[0].height) < 128 ? 2 : 1);
  const big = (picture: Raster): Raster => enlarge(picture, scale);
  const codes = result.indices;
  const rows = pictures.map((picture, i) => {
    const row = [big(picture)];
    if (codes) row.unshift(codePicture(codes, row[0].width / codes.shape[2], i));
    if (image) row.unshift(big(image));
    return row;
  });
  // Many pictures without anything beside them stand in a square.
  const columns = rows[0].length === 1 ? gridFor(rows.length).columns : rows[0].length;
  const paths = outputPaths(options);
  const sheet = await writeWhole(paths.sheet, await encodePng(layOut(rows.flat(), columns)));
  const psnr = image && psnrOf(image, pictures[0]);
  if (!codes) return { sheet, pictures, psnr };
  const json = `${JSON.stringify({ shape: codes.shape, data: [...codes.data] })}\n`;
  const file = await writeWhole(paths.sheet.replace(/\.png$/i, '.codes.json'), new TextEncoder().encode(json));
  return { sheet, codes: file, pictures, psnr };
}

/** Peak signal to noise of the colours, decibels. */
function psnrOf(a: Raster, b: Raster): number {
  let sum = 0;
  for (let i = 0; i < a.data.length; i++) if (i % 4 !== 3) sum += (a.data[i] - b.data[i]) ** 2;
  return 10 * Math.log10(255 ** 2 / (sum / ((3 * a.data.length) / 4)));
}
