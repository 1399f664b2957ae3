import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { UsageError } from '../../src/node/cli/exit.ts';
import { fileWords, outputPaths, resolveClasses } from '../../src/node/cli/generateOptions.ts';

const emoji = { 0: 'Smileys & Emotion', 1: 'People & Body', 2: 'Animals & Nature', 3: 'Food & Drink', 10: 'Flags' };

describe('classes', () => {
  test.each([
    [[], [0, 1, 2, 3, 10]],
    [['2'], [2]],
    [
      ['10', '1'],
      [10, 1],
    ],
    [['Food & Drink'], [3]],
    [['food'], [3]],
    [['FLAGS,smileys, 2'], [10, 0, 2]],
    [
      ['1', '1'],
      [1, 1],
    ],
  ])('%j', (words, wanted) => expect(resolveClasses(words, emoji)).toEqual(wanted));

  test('a name with commas is a name first, a list second', () => {
    const labels = { 0: 'tench, Tinca tinca', 1: 'goldfish', 2: 'tench' };
    expect(resolveClasses(['tench, Tinca tinca'], labels)).toEqual([0]);
    expect(resolveClasses(['tench'], labels)).toEqual([2]);
    expect(resolveClasses(['goldfish,tench'], labels)).toEqual([1, 2]);
  });

  test.each([
    ['9', /got "9", which is none of them/],
    ['-1', /which is none of them/],
    ['cats', /expected a number or name of 0 Smileys & Emotion, .*got "cats"/],
    ['&', /which fits Smileys & Emotion and People & Body/],
    ['food,,2', /got "", which is none of them/],
  ])('refuses %j', (word, message) => {
    expect(() => resolveClasses([word], emoji)).toThrow(UsageError);
    expect(() => resolveClasses([word], emoji)).toThrow(message);
  });

  test('a thousand classes are not all listed', () => {
    const labels = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [i, `thing ${i}`]));
    expect(() => resolveClasses(['none'], labels)).toThrow(/19 thing 19, … \(1000 in all\)/);
  });
});

describe('paths', () => {
  test('a folder gets files named after the model', () => {
    const paths = outputPaths({ out: 'o', model: '/a/Emoji Model/' });
    expect(paths.sheet).toBe(join('o', 'emoji-model-sheet.png'));
    expect(paths.strip).toBe(join('o', 'emoji-model-developing.png'));
    expect(paths.picture(8, 12, 'Food & Drink', 4)).toBe(join('o', 'emoji-model-09-food-drink-seed-4.png'));
  });

  test('a .png names the sheet', () => {
    const paths = outputPaths({ out: 'o/cat.PNG', model: 'm' });
    expect([paths.sheet, paths.strip]).toEqual(['o/cat.PNG', join('o', 'cat-developing.png')]);
  });

  test.each([
    ['https://host/a/b/?token=x#y', 'b'],
    ['org/name', 'name'],
    ['..', 'picture'],
  ])('model %j', (model, stem) => {
    expect(outputPaths({ out: 'o', model }).sheet).toBe(join('o', `${stem}-sheet.png`));
  });

  test('words for file names keep letters of every script', () => {
    expect(fileWords('Müsli/../東京 №1!')).toBe('mu-sli-東京-no1');
  });
});
