/** The pictures that options of `daguerre generate` name. */
import { readFile } from 'node:fs/promises';
import { FormatError } from '../../engine/errors.ts';
import { decodePng, type Raster } from '../png.ts';
import { UsageError } from './exit.ts';
import type { GenerateOptions } from './generateOptions.ts';

/** What a run starts from, fills and is led by. */
export interface GivenPictures {
  image?: Raster;
  mask?: Raster;
  controls?: Raster[];
}

async function picture(option: string, path: string): Promise<Raster> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT' ? 'which does not exist' : code === 'EISDIR' ? 'a folder' : `which fails with ${code}`;
    throw new UsageError(`${option}: expected a PNG file, got ${path}, ${why}`, { cause });
  }
  try {
    return await decodePng(bytes);
  } catch (cause) {
    if (!(cause instanceof FormatError)) throw cause;
    throw new UsageError(`${option}: expected a PNG file, got ${path}, which is none; convert it`, { cause });
  }
}

const size = ({ width, height }: { width: number; height: number }) => `${width}×${height}`;

/**
 * Reads the pictures; a mask and pictures that control have the size of the result.
 * @throws UsageError naming the option for a file that is not there or no PNG, and for sizes that differ
 */
export async function readPictures(options: GenerateOptions): Promise<GivenPictures> {
  const image = options.image === undefined ? undefined : await picture('--image', options.image);
  const mask = options.mask === undefined ? undefined : await picture('--mask', options.mask);
  const controls: Raster[] = [];
  for (const path of options.controls ?? []) controls.push(await picture('--control', path));
  if (image && mask && size(image) !== size(mask)) {
    throw new UsageError(`--mask: expected ${size(image)} as --image, got ${size(mask)}; resize one of them`);
  }
  const of = image ?? controls[0];
  const odd = controls.find((control) => size(control) !== size(of));
  if (odd) {
    const as = image ? '--image' : 'the first';
    throw new UsageError(`--control: expected ${size(of)} as ${as}, got ${size(odd)}; resize one of them`);
  }
  return { image, mask, controls: options.controls && controls };
}
