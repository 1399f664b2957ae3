/** What is computed in parts by subgroup matrices where nothing has been measured, in every form that they come in. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_CAPABILITIES, type Capabilities, type MatrixForm } from '../../../src/engine/index.ts';
import { matrixParts, matrixTiles, partsPay, usualMatrix } from '../../../src/kernels/matrices.ts';

const FORMS: MatrixForm[] = ['16x16x16', '8x16x16', '8x8x16', '8x8x8'];
const capsOf = (matrices: MatrixForm): Capabilities => ({ ...DEFAULT_CAPABILITIES, f16: true, matrices });

/** What is counted for `rows` of sums of `k` values. */
function counted(form: MatrixForm, rows: number, columns: number, k: number) {
  const caps = capsOf(form);
  const whole = usualMatrix(rows, columns / 4, k / 4, matrixTiles(caps))!;
  const parts = matrixParts(rows, columns / 4, k / 4, caps);
  return { whole, parts, pay: parts !== undefined && partsPay(parts, whole) };
}

describe.each(FORMS)('in matrices of %s', (form) => {
  it.each([
    ['3×3 of 1280 channels, two maps of 16²', 2 * 16 ** 2, 1280, 9 * 1280],
    ['3×3 of 2560 channels, two maps of 16²', 2 * 16 ** 2, 1280, 9 * 2560],
    ['3×3 of 1280 channels, two maps of 8²', 2 * 8 ** 2, 1280, 9 * 1280],
    ['3×3 of 2560 channels, two maps of 8²', 2 * 8 ** 2, 1280, 9 * 2560],
  ])('%s is computed in parts', (_, rows, columns, k) => {
    expect(counted(form, rows, columns, k).pay).toBe(true);
  });

  it.each([
    ["a feed-forward layer's end, two maps of 16²", 2 * 16 ** 2, 1280, 5120],
    ["a feed-forward layer's end, two maps of 8²", 2 * 8 ** 2, 1280, 5120],
    ['a shortcut of 2560 channels, two maps of 8²', 2 * 8 ** 2, 1280, 2560],
    ["DiT-XL's, 256 tokens", 256, 1152, 4608],
    ['3×3 of 320 channels, two maps of 64²', 2 * 64 ** 2, 320, 9 * 320],
  ])('%s is not', (_, rows, columns, k) => {
    expect(counted(form, rows, columns, k).pay).toBe(false);
  });

  it('parts are what a second dispatch must pay for', () => {
    // Twice the sums take twice the time, to write and join them does not.
    const [once, twice] = [counted(form, 512, 1280, 11520), counted(form, 512, 1280, 23040)];
    expect(twice.whole.seconds).toBe(2 * once.whole.seconds);
    expect(twice.parts!.parts).toBe(once.parts!.parts);
    expect(twice.parts!.join).toBe(once.parts!.join);
    expect(twice.parts!.first).toBeLessThan(2 * once.parts!.first);
  });
});
