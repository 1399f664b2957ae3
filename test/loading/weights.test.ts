import { expect, test } from 'vitest';
import { WeightError } from '../../src/engine/errors.ts';
import { Checkpoint } from '../../src/loading/checkpoint.ts';
import { checkKeys } from '../../src/loading/weights.ts';
import { expectError, f32, file, source } from './files.ts';

const checkpoint = await Checkpoint.open(
  source(file({ 'conv.weight': f32([2, 3]), 'conv.bias': f32([2]), 'ema.decay': f32([]), 'ema.step': f32([]) })),
);
const wanted = (entries: Record<string, number[]>): Map<string, number[]> => new Map(Object.entries(entries));
const where = 'TestModel';
const all = { 'conv.weight': [2, 3], 'conv.bias': [2] };

test('all there: what was ignored is reported', () => {
  const report = checkKeys({ where, wanted: wanted(all), checkpoint, ignorable: [/^ema\./g] });
  expect(report.ignored).toEqual(['ema.decay', 'ema.step']);
  // A pattern with the g flag remembers where it stopped; that must not show.
  const view = checkpoint.view((key) => `m.${key}`);
  const renamed = wanted({ 'm.conv.weight': [2, 3], 'm.conv.bias': [2] });
  expect(checkKeys({ where, wanted: renamed, checkpoint: view, ignorable: [/^m\.ema\./g] }).ignored).toHaveLength(2);
  // An ignorable key that the model does want is read, not ignored.
  const more = checkKeys({ where, wanted: wanted({ ...all, 'ema.step': [] }), checkpoint, ignorable: [/^ema\./] });
  expect(more.ignored).toEqual(['ema.decay']);
});

test('missing, misshapen and unused keys come in one error, with both shapes', async () => {
  const error = await expectError(
    () => checkKeys({ where, wanted: wanted({ 'conv.weight': [3, 2], 'norm.weight': [4] }), checkpoint }),
    WeightError,
    /^TestModel: /,
    /1 missing: norm\.weight;/,
    /1 of another shape: conv\.weight \[2,3\] in place of \[3,2\];/,
    /3 not used by this model: conv\.bias, ema\.decay, ema\.step/,
  );
  expect(error.keys).toEqual(['norm.weight', 'conv.weight', 'conv.bias', 'ema.decay', 'ema.step']);
});

test('of many keys the first five are shown, and all are in the error', async () => {
  const many = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`w${i}`, [1]]));
  const error = await expectError(
    () => checkKeys({ where, wanted: wanted({ ...all, ...many }), checkpoint, ignorable: [/^ema/] }),
    WeightError,
    /12 missing: w0, w1, w2, w3, w4 and 7 more/,
  );
  expect(error.keys).toHaveLength(12);
});

test('trailing ones count unless they are allowed', async () => {
  const old = await Checkpoint.open(source(file({ q: f32([2, 2, 1, 1]), v: f32([2]) })));
  const shapes = wanted({ q: [2, 2], v: [2, 1] });
  expect(checkKeys({ where, wanted: shapes, checkpoint: old, allowTrailingOnes: true }).ignored).toEqual([]);
  await expectError(
    () => checkKeys({ where, wanted: shapes, checkpoint: old }),
    WeightError,
    /q \[2,2,1,1\]/,
    /v \[2\]/,
  );
  const other = wanted({ q: [2, 2, 2], v: [2] });
  await expectError(
    () => checkKeys({ where, wanted: other, checkpoint: old, allowTrailingOnes: true }),
    WeightError,
    /q \[2,2,1,1\] in place of \[2,2,2\]/,
  );
});

test('a tensor with aliases is used when one of them is', () => {
  const tied = checkpoint.view((key) => (key === 'conv.bias' ? ['conv.bias', 'head.bias'] : key));
  const shapes = wanted({ 'conv.weight': [2, 3], 'head.bias': [2] });
  expect(checkKeys({ where, wanted: shapes, checkpoint: tied, ignorable: [/^ema/] }).ignored).toHaveLength(2);
});
