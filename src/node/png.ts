/** PNG files in Node: encoded and decoded by `pngjs`, written whole or not at all. */
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { AdapterError, FormatError, InvalidArgumentError } from '../engine/errors.ts';

/** A picture in memory: RGBA, 8 bits each, row-major from the top left, `4·width·height` bytes. */
export interface Raster {
  width: number;
  height: number;
  data: Uint8ClampedArray | Uint8Array;
}

/** What a pipeline returns, as far as this file cares. */
export interface RgbaImage {
  readonly width: number;
  readonly height: number;
  /** RGBA, 8 bits each, 4·width·height bytes. */
  toRgba(): Promise<Uint8ClampedArray>;
}

async function pngjs(): Promise<typeof import('pngjs')> {
  try {
    const loaded = (await import('pngjs')) as typeof import('pngjs') & { default?: typeof import('pngjs') };
    return loaded.default ?? loaded;
  } catch (cause) {
    throw new AdapterError('png: the npm package pngjs is not installed; run: npm install pngjs', { cause });
  }
}

/**
 * A PNG of 8-bit RGB, or RGBA where a pixel is not opaque.
 * @throws InvalidArgumentError when `data` does not have 4·width·height bytes; AdapterError when the npm package pngjs
 * is not installed
 */
export async function encodePng({ width, height, data }: Raster): Promise<Uint8Array> {
  if (!(width > 0 && height > 0) || data.length !== 4 * width * height) {
    throw new InvalidArgumentError(
      `encodePng: expected ${4 * width * height} bytes of RGBA for ${width}×${height}, got ${data.length}; ` +
        'pass a whole picture',
    );
  }
  const { PNG } = await pngjs();
  const png = new PNG({ width, height });
  png.data = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  let opaque = true;
  for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
  return PNG.sync.write(png, { colorType: opaque ? 2 : 6, inputColorType: 6, inputHasAlpha: true });
}

/**
 * The picture in a PNG of any kind, as 8-bit RGBA.
 * @throws FormatError when the bytes are not a PNG; AdapterError when the npm package pngjs is not installed
 */
export async function decodePng(bytes: Uint8Array): Promise<Raster> {
  const { PNG } = await pngjs();
  try {
    const { width, height, data } = PNG.sync.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    return { width, height, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  } catch (cause) {
    throw new FormatError(`decodePng: expected a PNG, got something else (${(cause as Error).message})`, { cause });
  }
}

/**
 * Writes a file so that its name never stands for half of it: a temporary neighbour is written, then renamed.
 * Missing folders are made. @returns the absolute path
 */
export async function writeWhole(path: string, bytes: Uint8Array | string): Promise<string> {
  const target = resolve(path);
  await mkdir(dirname(target), { recursive: true });
  const temporary = `${target}.${randomUUID().slice(0, 8)}.part`;
  try {
    await writeFile(temporary, bytes);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return target;
}

/**
 * Writes a picture as PNG, whole or not at all; missing folders are made.
 * @returns the absolute path
 * @throws as {@link encodePng}, and the system's error when the file cannot be written
 */
export async function saveImage(image: RgbaImage | Raster, path: string): Promise<string> {
  const { width, height } = image;
  const data = 'toRgba' in image ? await image.toRgba() : image.data;
  return writeWhole(path, await encodePng({ width, height, data }));
}
