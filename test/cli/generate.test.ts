import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import { InterruptedError, UsageError } from '../../src/node/cli/exit.ts';
import { splitOrders } from '../../src/node/cli/develop.ts';
import { generate, median, takeOrders } from '../../src/node/cli/generate.ts';
import { defaultModel, type GenerateOptions } from '../../src/node/cli/generateOptions.ts';
import type { Terminal } from '../../src/node/cli/terminal.ts';
import { decodePng } from '../../src/node/png.ts';
import { EIGHT_BIT, expectClose } from '../support/close.ts';
import { listener } from './listener.ts';

let folder: string;
let options: GenerateOptions;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'daguerre-generate-'));
  options = {
    model: defaultModel(),
    classes: ['food', 'flags'],
    steps: 4,
    guidance: 4,
    seed: 7,
    batch: 1,
    out: folder,
    dtype: 'f32',
    adapter: 'lavapipe',
    separate: false,
  };
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const quiet = new AbortController().signal;
const png = async (path: string) => decodePng(readFileSync(path));

describe('a run', () => {
  test('writes sheet, strip and separate pictures, and says where they are', async () => {
    const terminal = listener();
    const { paths, orders, made } = await generate({ ...options, separate: true }, terminal, quiet);
    expect(orders).toEqual([
      { label: 3, seed: 7 },
      { label: 8, seed: 8 },
    ]);
    expect(readdirSync(folder).sort()).toEqual([
      'emoji-1-food-drink-seed-7.png',
      'emoji-2-flags-seed-8.png',
      'emoji-developing.png',
      'emoji-sheet.png',
    ]);
    // Two pictures of 64, twice enlarged, with margins of a sixteenth.
    expect(await png(paths.sheet)).toMatchObject({ width: 2 * 136 + 8, height: 144 });
    expect(await png(paths.strip!)).toMatchObject({ width: made.strip.length * 136 + 8, height: 144 });
    expect([...(await png(paths.pictures[1])).data]).toEqual([...made.pictures[1].data]);
    expect(made.strip.map(({ step }) => step)).toEqual([0, 1, 2, 3, 4]);
    expect(made.strip.at(-1)).toEqual({ raster: made.pictures[0], step: 4 });
    expect(made.stepMs).toHaveLength(4);
    expect(terminal.results[0]).toMatch(/emoji-sheet\.png +2 pictures, seeds 7 to 8$/);
    expect(terminal.results[1]).toMatch(/emoji-developing\.png {2}Food & Drink developing, 4 steps$/);
    expect(terminal.results.at(-2)).toMatch(/^[\d.]+ s per step of 2 pictures, [\d.]+ s to decode$/);
    expect(terminal.results.at(-1)).toMatch(/^on .*llvmpipe/);

    // A picture does not depend on its neighbours: made alone from its own seed it is the same, to rounding.
    const alone = { ...options, classes: ['8'], seed: 8, out: join(folder, 'alone.png'), scale: 1 };
    const again = await generate(alone, listener(), quiet);
    expectClose(again.made.pictures[0].data, made.pictures[1].data, EIGHT_BIT, 'picture made alone');
    expect(await png(again.paths.sheet)).toMatchObject({ width: 72, height: 72 });
  });

  test('Ctrl-C stops it at a step, says so, and leaves no file', async () => {
    const controller = new AbortController();
    const out = join(folder, 'interrupted');
    const notes: string[] = [];
    // Aborted from the inside, at the line that tells of the first step.
    const terminal: Terminal = { columns: 80, out: () => {}, note: (line) => void notes.push(line) };
    const stop = setInterval(() => notes.includes('developing …') && controller.abort(), 1);
    try {
      const run = generate({ ...options, steps: 500, out }, terminal, controller.signal);
      await expect(run).rejects.toThrow(InterruptedError);
      await expect(run).rejects.toThrow(/^stopped at step \d+ of 500; no file was written$/);
    } finally {
      clearInterval(stop);
    }
    expect(readdirSync(folder)).not.toContain('interrupted');
  });

  test('stopped before it began says so', async () => {
    const run = generate(options, listener(), AbortSignal.abort());
    await expect(run).rejects.toThrow(/^stopped while loading; no file was written$/);
  });

  test('what does not fit the model is told before any step', async () => {
    await expect(generate({ ...options, classes: ['cats'] }, listener(), quiet)).rejects.toThrow(UsageError);
    const wide = generate({ ...options, width: 65 }, listener(), quiet);
    await expect(wide).rejects.toThrow(InvalidArgumentError);
    await expect(wide).rejects.toThrow(/width.*65/);
  });
});

describe('orders', () => {
  test('every class as often as asked, seeds counting up and round', () => {
    expect(takeOrders([5, 2], 2, 2 ** 32 - 3)).toEqual([
      { label: 5, seed: 2 ** 32 - 3 },
      { label: 5, seed: 2 ** 32 - 2 },
      { label: 2, seed: 2 ** 32 - 1 },
      { label: 2, seed: 0 },
    ]);
  });

  test.each([
    [1, 16, [1]],
    [16, 16, [16]],
    [17, 16, [9, 8]],
    [50, 16, [13, 12, 13, 12]],
  ])('%i in runs of at most %i', (count, most, lengths) => {
    const orders = Array.from({ length: count }, (_, i) => i);
    const runs = splitOrders(orders, most);
    expect(runs.map((run) => run.length)).toEqual(lengths);
    expect(runs.flat()).toEqual(orders);
  });

  test('the median is the middle', () => {
    expect([median([9, 1, 2]), median([4, 1, 2, 100])]).toEqual([2, 3]);
  });
});
