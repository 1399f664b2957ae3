import { expect, test } from 'vitest';
import { AbortedError, FormatError } from '../../src/engine/errors.ts';
import type { ByteSource } from '../../src/loading/source.ts';
import { WindowedSource } from '../../src/loading/windowedSource.ts';
import { uniform } from '../support/random.ts';
import { expectError } from './files.ts';

const DATA = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

/** Bytes that arrive only when they are released, with a log of what was asked for. */
function gated(): { source: ByteSource; asked: string[]; aborted: string[]; release: () => void } {
  const asked: string[] = [];
  const aborted: string[] = [];
  const waiting: (() => void)[] = [];
  const source: ByteSource = {
    name: 'gated',
    size: async () => DATA.length,
    read: (start, end, signal) => {
      asked.push(`${start}..${end}`);
      return new Promise((resolve, reject) => {
        waiting.push(() => resolve(DATA.subarray(start, end)));
        signal?.addEventListener('abort', () => {
          aborted.push(`${start}..${end}`);
          reject(new AbortedError('read gated: aborted by the caller'));
        });
      });
    },
  };
  return { source, asked, aborted, release: () => waiting.splice(0).forEach((go) => go()) };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

test('any sequence of ranges gives the right bytes', async () => {
  const source = new WindowedSource(
    { name: 'x', size: async () => DATA.length, read: async (s, e) => DATA.subarray(s, e) },
    64,
  );
  const u = uniform(5);
  for (let i = 0; i < 500; i++) {
    const start = Math.floor(u() * 1001);
    const end = Math.min(1000, start + Math.floor(u() * 80));
    expect([...(await source.read(start, end))]).toEqual([...DATA.subarray(start, end)]);
  }
  await expectError(source.read(990, 1001), FormatError, /got only 10 of 11/);
});

test('readers of one window share its request, and the least recently used of four windows goes first', async () => {
  const { source, asked, release } = gated();
  const windowed = new WindowedSource(source, 100);
  const reads = [windowed.read(5, 10), windowed.read(20, 30), windowed.read(95, 105)];
  await turn();
  release();
  await turn();
  release();
  await Promise.all(reads);
  expect(asked).toEqual(['0..100', '100..200']);
  const visit = async (start: number): Promise<void> => {
    const read = windowed.read(start, start + 1);
    await turn();
    release();
    await read;
  };
  for (const start of [200, 300, 0, 400, 0, 100]) await visit(start);
  expect(asked).toEqual(['0..100', '100..200', '200..300', '300..400', '400..500', '100..200']);
});

test('one reader that gives up does not take the window from the others; the last one ends the request', async () => {
  const { source, asked, aborted, release } = gated();
  const windowed = new WindowedSource(source, 100);
  const [one, two] = [new AbortController(), new AbortController()];
  const first = windowed.read(0, 5, one.signal);
  const second = windowed.read(5, 10, two.signal);
  await turn();
  one.abort();
  await expectError(first, AbortedError);
  expect(aborted).toEqual([]);
  two.abort();
  await expectError(second, AbortedError);
  expect(aborted).toEqual(['0..100']);
  const third = windowed.read(0, 5);
  await turn();
  release();
  expect([...(await third)]).toEqual([0, 1, 2, 3, 4]);
  expect(asked).toEqual(['0..100', '0..100']);
  // Giving up on what has arrived already ends nothing.
  const late = new AbortController();
  await windowed.read(0, 5, late.signal);
  late.abort();
  expect(aborted).toEqual(['0..100']);
  await expectError(windowed.read(0, 5, late.signal), AbortedError);
});
