/**
 * `daguerre generate` with an autoencoder: a picture to codes and back, codes to pictures, drawn codes; what it
 * refuses.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { UsageError } from '../../src/node/cli/exit.ts';
import { generate } from '../../src/node/cli/generate.ts';
import { checkCombination, type GenerateOptions } from '../../src/node/cli/generateOptions.ts';
import { readCodes } from '../../src/node/cli/reconstruct.ts';
import { codeColour } from '../../src/pipelines/autoencoder/codePicture.ts';
import { decodePng, encodePng } from '../../src/node/png.ts';
import { fixturesPath } from '../models/fixtures.ts';
import { adapters } from '../support/gpu.ts';
import { listener } from './listener.ts';

const place = mkdtempSync(join(tmpdir(), 'daguerre-codes-'));
afterAll(() => rmSync(place, { recursive: true, force: true }));

const [adapter] = adapters();
const quiet = new AbortController().signal;
const base: GenerateOptions = {
  ...{ model: join(fixturesPath, 'vq_ldm'), classes: [], steps: 20, guidance: 4, untold: ['steps', 'guidance'] },
  ...{ seed: 5, batch: 1, out: join(place, 'sheet.png'), dtype: 'f32', adapter, separate: false, scale: 1 },
};

test('a picture, its codes, and what comes back; then the codes alone', async () => {
  const data = new Uint8Array(4 * 16 * 16).map((_, i) => (i % 4 === 3 ? 255 : (13 * i) % 256));
  const image = join(place, 'picture.png');
  writeFileSync(image, await encodePng({ width: 16, height: 16, data }));
  const terminal = listener();
  const { paths, made } = await generate({ ...base, image }, terminal, quiet);
  expect(made.pictures).toHaveLength(1);
  const codes = await readCodes(paths.codes!);
  const [B, h, w] = codes.shape;
  expect([B, h * w]).toEqual([1, codes.data.length]);
  const sheet = await decodePng(readFileSync(paths.sheet));
  expect([sheet.width, sheet.height]).toEqual([3 * 17 + 1, 18]);
  // The picture's own first pixel, then the colour of the first code.
  const pixel = (x: number, y: number) => [
    ...sheet.data.slice(4 * (y * sheet.width + x), 4 * (y * sheet.width + x) + 3),
  ];
  expect(pixel(1, 1)).toEqual([...data.slice(0, 3)]);
  expect(pixel(18, 1)).toEqual(codeColour(codes.data[0]));

  const again = await generate({ ...base, codes: paths.codes, out: join(place, 'again.png') }, listener(), quiet);
  expect(again.made.pictures).toEqual(made.pictures);
}, 600_000);

test('what does not fit is refused with what to do', async () => {
  const wrong = join(place, 'wrong.json');
  writeFileSync(wrong, '{"shape": [1, 2, 2], "data": [1, 2, 3]}');
  await expect(readCodes(wrong)).rejects.toThrow(/shape.*something else/);
  await expect(readCodes(join(place, 'none.json'))).rejects.toThrow(UsageError);
  expect(() => checkCombination({ ...base, image: 'a.png', codes: 'b.json' })).toThrow(UsageError);
  await expect(generate({ ...base, prompts: ['a heart'] }, listener(), quiet)).rejects.toThrow(/--prompt.*VQModel/);
  await expect(generate({ ...base, codes: wrong }, listener(), quiet)).rejects.toThrow(UsageError);
});

test('equal codes have equal colours, and neighbours are told apart', () => {
  for (let code = 0; code < 100; code++) {
    expect(codeColour(code)).toEqual(codeColour(code));
    expect(codeColour(code)).not.toEqual(codeColour(code + 1));
    for (const channel of codeColour(code)) expect(channel >= 0 && channel <= 255).toBe(true);
  }
});
