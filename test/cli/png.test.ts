import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FormatError, InvalidArgumentError } from '../../src/engine/errors.ts';
import { decodePng, encodePng, saveImage, writeWhole } from '../../src/node/png.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-png-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** Every value in every channel; alpha opaque or not. */
function gradient(opaque: boolean): Uint8ClampedArray {
  return Uint8ClampedArray.from({ length: 4 * 16 * 16 }, (_, i) =>
    i % 4 === 3 ? (opaque ? 255 : i >> 2) : ((i >> 2) * (1 + (i % 4))) & 255,
  );
}

test.each([true, false])('what goes in comes out, opaque: %s', async (opaque) => {
  const data = gradient(opaque);
  const png = await encodePng({ width: 16, height: 16, data });
  // Byte 25 of a PNG is its colour type: 2 is RGB, 6 is RGBA.
  expect(png[25]).toBe(opaque ? 2 : 6);
  const back = await decodePng(png);
  expect([back.width, back.height]).toEqual([16, 16]);
  expect([...back.data]).toEqual([...data]);
});

test('refuses half a picture, and bytes that are no PNG', async () => {
  await expect(encodePng({ width: 2, height: 2, data: new Uint8Array(15) })).rejects.toThrow(InvalidArgumentError);
  await expect(encodePng({ width: 0, height: 2, data: new Uint8Array(0) })).rejects.toThrow(InvalidArgumentError);
  await expect(decodePng(new Uint8Array(20))).rejects.toThrow(FormatError);
  const whole = await encodePng({ width: 16, height: 16, data: gradient(true) });
  await expect(decodePng(whole.subarray(0, whole.length - 30))).rejects.toThrow(FormatError);
});

test('saveImage writes a picture of a pipeline, folders included', async () => {
  const data = gradient(true);
  const image = { width: 16, height: 16, toRgba: async () => data };
  const path = await saveImage(image, join(folder, 'a', 'b.png'));
  expect([...(await decodePng(readFileSync(path))).data]).toEqual([...data]);
  expect(readdirSync(join(folder, 'a'))).toEqual(['b.png']);
});

test('a file that cannot be finished leaves what was there, and no trace', async () => {
  const path = join(folder, 'taken');
  mkdirSync(path);
  writeFileSync(join(path, 'old.txt'), 'old');
  // Written beside it, and then refused its name, which a folder has.
  await expect(writeWhole(path, 'new')).rejects.toThrow();
  expect(readdirSync(folder)).toEqual(['taken']);
  expect(readdirSync(path)).toEqual(['old.txt']);
});
