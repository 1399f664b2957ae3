import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../src/engine/errors.ts';
import { ConfigReader } from '../../src/loading/configReader.ts';
import { expectError } from './files.ts';

const reader = (raw: Record<string, unknown>): ConfigReader => new ConfigReader(raw, 'TestModel');
type Get = (cfg: ConfigReader) => unknown;

describe('values', () => {
  test.each([
    ['int', { a: 3 }, (c) => c.int('a'), 3],
    ['int by default', {}, (c) => c.int('a', 7), 7],
    ['int of null where null is the default', { a: null }, (c) => c.int('a', 7, { nullIsDefault: true }), 7],
    ['int at its bounds', { a: 1 }, (c) => c.int('a', 0, { min: 1, max: 1 }), 1],
    ['nullable int', { a: 3 }, (c) => c.nullableInt('a'), 3],
    ['nullable int of null, whatever the default', { a: null }, (c) => c.nullableInt('a', 8), null],
    ['nullable int by default', {}, (c) => c.nullableInt('a', 8), 8],
    ['number', { a: 1e-6 }, (c) => c.number('a', 1, { above: 0 }), 1e-6],
    ['nullable number', { a: null }, (c) => c.nullableNumber('a', 1), null],
    ['bool', { a: false }, (c) => c.bool('a', true), false],
    ['nullable bool', { a: null }, (c) => c.nullableBool('a', true), null],
    ['string', { a: '' }, (c) => c.string('a', 'x'), ''],
    ['nullable string', { a: null }, (c) => c.nullableString('a'), null],
    ['enum', { a: 'silu' }, (c) => c.enum('a', ['gelu', 'silu'], 'gelu'), 'silu'],
    ['nullable enum', { a: null }, (c) => c.nullableEnum('a', ['timestep'], 'timestep'), null],
    ['int array', { a: [1, 2] }, (c) => c.intArray('a', [3]), [1, 2]],
    ['number array', { a: [0.5] }, (c) => c.numberArray('a'), [0.5]],
    ['nullable number array', { a: null }, (c) => c.nullableNumberArray('a', [1]), null],
    ['enum array', { a: ['x', 'x'] }, (c) => c.enumArray('a', ['x', 'y']), ['x', 'x']],
    ['int per level, one for all', { a: 2 }, (c) => c.intPerLevel('a', 3), [2, 2, 2]],
    ['int per level, one each', { a: [1, 2, 3] }, (c) => c.intPerLevel('a', 3), [1, 2, 3]],
    ['int per level by default', {}, (c) => c.intPerLevel('a', 2, 8), [8, 8]],
    ['bool per level', { a: [true, false] }, (c) => c.boolPerLevel('a', 2, false), [true, false]],
    ['bool per level by default', {}, (c) => c.boolPerLevel('a', 2, false), [false, false]],
  ] as [string, Record<string, unknown>, Get, unknown][])('%s', (_name, raw, get, want) => {
    const cfg = reader(raw);
    expect(get(cfg)).toEqual(want);
    expect(cfg.done().ignored).toEqual([]);
  });

  test('a default array is copied', () => {
    const fallback = [1, 2];
    reader({}).intArray('a', fallback).push(3);
    expect(fallback).toEqual([1, 2]);
  });
});

describe('refused', () => {
  test.each([
    ['absent without default', {}, (c) => c.int('a'), /a to be an integer, got no such field; add the field/],
    ['a fraction', { a: 1.5 }, (c) => c.int('a', 1), /an integer, got 1\.5/],
    ['a string for an int', { a: '3' }, (c) => c.int('a', 1), /got "3"/],
    ['null where it means nothing', { a: null }, (c) => c.int('a', 1), /got null/],
    ['below', { a: 0 }, (c) => c.int('a', 1, { min: 1 }), /an integer >= 1, got 0/],
    ['above', { a: 9 }, (c) => c.nullableInt('a', 1, { max: 8 }), /<= 8 or null, got 9/],
    ['at an exclusive bound', { a: 0 }, (c) => c.number('a', 1, { above: 0 }), /a number > 0, got 0/],
    ['a number for a bool', { a: 1 }, (c) => c.bool('a', true), /true or false, got 1/],
    ['a bool for a string', { a: true }, (c) => c.string('a', ''), /a string, got true/],
    ['a value not understood', { a: 'mish' }, (c) => c.enum('a', ['silu', 'gelu']), /"silu" or "gelu", got "mish"/],
    ['null for an enum', { a: null }, (c) => c.enum('a', ['silu'], 'silu'), /got null/],
    ['an element', { a: [1, null] }, (c) => c.intArray('a'), /array of integers, got \[1,null\]/],
    ['a length', { a: [1, 2] }, (c) => c.intArray('a', [], { length: 3 }), /array of 3 integers, got \[1,2\]/],
    ['too few', { a: [] }, (c) => c.intArray('a', [1], { minLength: 1 }), /at least 1 integers, got \[\]/],
    ['a scalar for an array', { a: 1 }, (c) => c.intArray('a'), /got 1/],
    ['an unknown block', { a: ['x', 'z'] }, (c) => c.enumArray('a', ['x', 'y']), /each "x" or "y", got \["x","z"\]/],
    ['levels', { a: [1, 2] }, (c) => c.intPerLevel('a', 3), /an array of 3 of them, got \[1,2\]/],
    ['bool levels', { a: [1] }, (c) => c.boolPerLevel('a', 1), /an array of 1 of them/],
    [
      'a setting that is not built',
      { a: 'x' },
      (c) => c.only('a', null, false),
      /null or false, got "x"; this version/,
    ],
  ] as [string, Record<string, unknown>, Get, RegExp][])('%s', async (_name, raw, get, pattern) => {
    const error = await expectError(
      () => get(reader(raw)),
      ConfigError,
      /^TestModel config: expected a to be/,
      pattern,
    );
    expect(error.field).toBe('a');
  });

  test('what objects inherit is no field', async () => {
    await expectError(() => reader({}).int('constructor'), ConfigError, /no such field/);
    expect(reader({}).has('toString')).toBe(false);
  });

  test('a long value is shortened', async () => {
    const error = await expectError(() => reader({ a: 'x'.repeat(500) }).int('a'), ConfigError);
    expect(error.message.length).toBeLessThan(250);
  });
});

describe('done', () => {
  test('fields that nobody asked for are an error naming them, whatever their value', async () => {
    const cfg = reader({ a: 1, resnet_skip: null, b: [1, 2], c: 0, d: 0, e: 0, f: 0 });
    cfg.int('a');
    const error = await expectError(() => cfg.done(), ConfigError, /resnet_skip = null, b = \[1,2\], .* and 1 more/);
    expect(error.field).toBe('resnet_skip');
  });

  test('ignored fields and underscored ones are reported when present', () => {
    const cfg = reader({ _class_name: 'TestModel', dropout: 0.1, a: 1 });
    cfg.int('a');
    cfg.ignored(['dropout', 'init_std']);
    expect(cfg.done().ignored).toEqual(['_class_name', 'dropout']);
  });

  test('only passes what is absent or equal, arrays too', () => {
    const cfg = reader({ a: null, b: [1, 2] });
    cfg.only('a', null);
    cfg.only('b', [1, 2], null);
    cfg.only('c', 'conv');
    expect(cfg.done().ignored).toEqual([]);
    expect(cfg.has('a')).toBe(false);
    expect(cfg.has('b')).toBe(true);
  });
});
