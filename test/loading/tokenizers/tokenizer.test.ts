/** Tokenizers: recorded ids of the reference libraries, padding, truncation, older files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FormatError, InvalidArgumentError, NotFoundError } from '../../../src/engine/errors.ts';
import { filesDirectory, type Directory } from '../../../src/loading/directory.ts';
import { Tokenizer, type TruncationWarning } from '../../../src/loading/tokenizers/tokenizer.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { expectError } from '../files.ts';
import { fixturesPath } from '../../models/fixtures.ts';

const path = join(fixturesPath, 'tokenizers');
const folder = (name: string): Directory => pathDirectory(path).folder(name);
const bytes = (name: string) => new Uint8Array(readFileSync(join(path, name)));
const recorded = (name: string) =>
  JSON.parse(readFileSync(join(path, name, 'recorded.json'), 'utf8')) as { text: string; ids: number[] }[];

/** A folder of some of the files of another, and of texts. */
function files(from: string, names: readonly string[], texts: Record<string, string> = {}): Directory {
  const blobs: Record<string, Blob> = {};
  for (const name of names) blobs[name] = new Blob([bytes(`${from}/${name}`)]);
  for (const [name, text] of Object.entries(texts)) blobs[name] = new Blob([text]);
  return filesDirectory(blobs, from);
}

const OLD = ['vocab.json', 'merges.txt', 'tokenizer_config.json'];

describe.each([
  ['clip', 'tokenizer.json', () => folder('clip')],
  ['clip', 'vocab.json and merges.txt', () => files('clip', OLD)],
  ['t5', 'tokenizer.json', () => folder('t5')],
  ['t5_spiece', 'spiece.model', () => folder('t5_spiece')],
] as const)('%s from %s', (name, _, directory) => {
  test('gives the recorded ids', async () => {
    const tokenizer = await Tokenizer.open(directory());
    for (const { text, ids } of recorded(name)) {
      const { inputIds } = tokenizer.encode(text, { padding: 'longest', maxLength: 100 });
      expect([...inputIds.data], text).toEqual(ids);
    }
  });
});

describe('CLIP', () => {
  const long = recorded('clip')[5];

  test('pads to its length with the pad token, and says where', async () => {
    const tokenizer = await Tokenizer.open(folder('clip'));
    expect(tokenizer).toMatchObject({ className: 'CLIPTokenizer', maxLength: 12, padTokenId: 0, vocabSize: 678 });
    const { inputIds, attentionMask } = tokenizer.encode(['a red heart', '']);
    expect(inputIds.shape).toEqual([2, 12]);
    const [heart, empty] = recorded('clip').map(({ ids }) => ids);
    expect([...inputIds.data]).toEqual([...heart, ...Array(7).fill(0), ...empty, ...Array(10).fill(0)]);
    expect([...attentionMask.data]).toEqual([...Array(5).fill(1), ...Array(7).fill(0), 1, 1, ...Array(10).fill(0)]);
    expect(tokenizer.decode(heart)).toBe('a red heart');
    expect(tokenizer.idOf('<|endoftext|>')).toBe(677);
  });

  test('cuts what is too long, keeps the end, and says what it left out', async () => {
    const tokenizer = await Tokenizer.open(folder('clip'));
    const warnings: TruncationWarning[] = [];
    const { inputIds } = tokenizer.encode(['a', long.text], { onWarning: (w) => warnings.push(w) });
    expect(inputIds.shape).toEqual([2, 12]);
    expect([...inputIds.data.slice(12)]).toEqual([...long.ids.slice(0, 11), 677]);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatchObject({ kind: 'truncated', index: 1, maxLength: 12 });
    expect(warnings[0].removed).toMatch(/oil painting of a city at night in the rain, highly detailed, watercolor$/);
    expect(warnings[0].message).toMatch(/prompt 1: expected at most 12 tokens, got 15 more; left out: /);
  });

  test('another bound, the longest of the batch, the end token as padding', async () => {
    const padded = { 'tokenizer_config.json': '{"pad_token":"<|endoftext|>","model_max_length":77}' };
    const tokenizer = await Tokenizer.open(files('clip', ['vocab.json', 'merges.txt'], padded));
    expect(tokenizer.padTokenId).toBe(677);
    expect(tokenizer.encode(['a red heart', ''], { padding: 'longest' }).inputIds.shape).toEqual([2, 5]);
    expect(tokenizer.encode('a', { maxLength: 4 }).inputIds.data.slice(2)).toEqual(Uint32Array.of(677, 677));
    // Where it is no special token, an exclamation mark is a word.
    expect(tokenizer.encode('!', { maxLength: 3 }).inputIds.data[1]).toBe(256);
  });
});

test('T5: no start, an end, no bound where the config sets none', async () => {
  const tokenizer = await Tokenizer.open(
    files('t5', ['tokenizer.json'], { 'special_tokens_map.json': '{"pad_token":"<pad>"}' }),
  );
  expect(tokenizer.maxLength).toBeUndefined();
  const { inputIds, attentionMask } = tokenizer.encode(['', 'a red heart'], { padding: 'longest' });
  expect([...inputIds.data.slice(0, 8)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
  expect([...attentionMask.data.slice(0, 3)]).toEqual([1, 0, 0]);
  await expectError(() => tokenizer.encode('a'), InvalidArgumentError, /padding: 'longest'/);
  const sentinels = await Tokenizer.open(folder('t5_spiece'));
  expect(sentinels.vocabSize).toBe(102);
  expect([sentinels.idOf('<extra_id_0>'), sentinels.idOf('<extra_id_1>')]).toEqual([101, 100]);
});

describe('what is refused', () => {
  test.each([
    ['an empty folder', files('clip', []), NotFoundError, /expected tokenizer\.json, vocab\.json with merges\.txt/],
    ['half of the files', files('clip', ['vocab.json']), NotFoundError, /got none of them/],
    [
      'a vocabulary of another model',
      files('clip', [], { 'vocab.json': '{"a":0}', 'merges.txt': '' }),
      FormatError,
      /of CLIP/,
    ],
    ['damaged merges', files('clip', ['vocab.json'], { 'merges.txt': 'a b c' }), FormatError, /got "a b c"/],
    ['a tokenizer.json of another kind', files('clip', [], { 'tokenizer.json': '{}' }), FormatError, /with a model/],
    ['a damaged spiece.model', files('clip', [], { 'spiece.model': '\u000a\u007f' }), FormatError, /127 bytes at 2/],
    ['another protocol buffer', files('clip', [], { 'spiece.model': '' }), FormatError, /pieces with <\/s>/],
    [
      'a pad token that is not there',
      files('clip', ['tokenizer.json'], { 'tokenizer_config.json': '{"pad_token":"<pad>"}' }),
      FormatError,
      /pad token "<pad>"/,
    ],
  ])('%s', async (_, directory, type, message) => {
    await expectError(Tokenizer.open(directory), type, message);
  });

  test('no prompt, no room', async () => {
    const tokenizer = await Tokenizer.open(folder('clip'));
    await expectError(() => tokenizer.encode([]), InvalidArgumentError);
    await expectError(() => tokenizer.encode('a', { maxLength: 1 }), InvalidArgumentError, /at least 2, got 1/);
  });
});
