import { describe, expect, test } from 'vitest';
import { InvalidArgumentError } from '../../src/engine/errors.ts';
import { enlarge, gridFor, layOut, moments } from '../../src/node/cli/sheet.ts';
import type { Raster } from '../../src/node/png.ts';
import { expectClose, EIGHT_BIT } from '../support/close.ts';

function plain(width: number, height: number, value: number): Raster {
  const data = new Uint8ClampedArray(4 * width * height).fill(value);
  for (let i = 3; i < data.length; i += 4) data[i] = 255;
  return { width, height, data };
}

const at = (r: Raster, x: number, y: number): number => r.data[4 * (y * r.width + x)];

describe('layOut', () => {
  test('puts pictures row by row, margins between and around', () => {
    const sheet = layOut(
      [10, 20, 30].map((v) => plain(16, 32, v)),
      2,
      200,
    );
    expect([sheet.width, sheet.height]).toEqual([2 * 17 + 1, 2 * 33 + 1]);
    expect([at(sheet, 1, 1), at(sheet, 18, 1), at(sheet, 1, 34)]).toEqual([10, 20, 30]);
    expect([at(sheet, 0, 0), at(sheet, 17, 5), at(sheet, 5, 33), at(sheet, 18, 34)]).toEqual([200, 200, 200, 200]);
    expect([at(sheet, 16, 32), at(sheet, 33, 32), at(sheet, 16, 65)]).toEqual([10, 20, 30]);
    for (let i = 3; i < sheet.data.length; i += 4) expect(sheet.data[i]).toBe(255);
  });

  test('refuses none and different sizes', () => {
    expect(() => layOut([], 1)).toThrow(InvalidArgumentError);
    expect(() => layOut([plain(8, 8, 0), plain(8, 9, 0)], 1)).toThrow(/one size, got 8×8, 8×9/);
  });
});

test.each([
  [1, 1, 1],
  [2, 2, 1],
  [5, 3, 2],
  [9, 3, 3],
  [10, 4, 3],
])('a grid for %i is %i × %i', (count, columns, rows) => expect(gridFor(count)).toEqual({ columns, rows }));

test.each([
  [20, 8, [0, 1, 2, 4, 7, 11, 15, 20]],
  [8, 8, [0, 1, 2, 3, 4, 5, 6, 8]],
  [1000, 4, [0, 138, 482, 1000]],
  [4, 8, [0, 1, 2, 3, 4]],
  [1, 8, [0, 1]],
  [7, 8, [0, 1, 2, 3, 4, 5, 6, 7]],
])('moments of %i steps in %i places', (steps, places, wanted) => expect(moments(steps, places)).toEqual(wanted));

describe('enlarge', () => {
  test('by 1 is the picture itself', () => {
    const picture = plain(3, 3, 7);
    expect(enlarge(picture, 1)).toBe(picture);
  });

  test('keeps a plain colour and a linear ramp, and does not shift', () => {
    expect(enlarge(plain(5, 4, 99), 3)).toEqual(plain(15, 12, 99));
    const ramp = plain(16, 3, 0);
    for (let i = 0; i < 4 * 48; i++) if (i % 4 < 3) ramp.data[i] = 10 * ((i >> 2) % 16);
    const big = enlarge(ramp, 2);
    // Away from the border, where neighbours are repeated.
    const got = Array.from({ length: 24 }, (_, i) => at(big, i + 4, 3));
    expectClose(
      got,
      got.map((_, i) => 10 * ((i + 4.5) / 2 - 0.5)),
      EIGHT_BIT / 2,
    );
  });
});
