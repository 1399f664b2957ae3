import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, numel, ShapeError } from '../../src/engine/index.ts';
import { resizeAntialias } from '../../src/kernels/resizeAntialias.ts';
import { antialiasWeights, resizeAntialiasReference } from '../reference/resample.ts';
import { dotTolerance, expectClose, PRINTED_4 } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

/** Printed by PyTorch 2.13: `interpolate(x, size=n, mode=…, antialias=True)` in f64. */
const X = [3, -1, 4, 1, -5, 9, 2, 6, -5, 3, 5];
const PRINTED = {
  bicubic: [
    [1.5683, 0.9718, 3.259, 1.6108],
    [1.3306, 2.4136, -1.7098, 4.6202, 4.0602, -1.454, 4.3943],
  ],
  bilinear: [
    [1.5, 1.0333, 3.0333, 1.9074],
    [1.4, 2.1111, -1.4375, 4.5789, 3.5625, -0.9444, 4.2],
  ],
} as const;

it.each(['bicubic', 'bilinear'] as const)('the truth is what PyTorch prints, %s', (filter) => {
  for (const want of PRINTED[filter]) {
    const rows = antialiasWeights(X.length, want.length, filter);
    const got = rows.map((row) => row.reduce((sum, w, j) => sum + w * X[j], 0));
    expectClose(got, want, PRINTED_4, `${want.length} of ${X.length}`);
  }
});

describe.each(adapters())('antialiased resampling on %s', (adapter) => {
  it.each(storages(adapter))('%s', async (_, dtype, options) => {
    const device = await openDevice(adapter, options);
    for (const [shape, height, width] of [
      [[2, 3, 5, 6], 8, 9],
      [[1, 17, 4, 1], 3, 1],
      [[1, 1, 1, 4], 2, 3],
      [[1, 4, 4, 3], 16, 16],
      [[2, 8, 8, 3], 20, 8],
      [[1, 300, 1, 3], 7, 1],
    ] as const) {
      for (const filter of ['bicubic', 'bilinear'] as const) {
        const data = roundTo(dtype, normals(3, numel(shape), { std: 100 }));
        const g = new Graph(dtype);
        const x = g.input('x', shape, { layout: 'rows', dtype });
        g.output('y', resizeAntialias(x, { height, width, filter }));
        const { outputs } = await runGraph(device, g, { inputs: { x: data } });
        const want = resizeAntialiasReference({ data, shape }, height, width, filter).data;
        const what = `${shape.join('×')} → ${height}×${width} ${filter}`;
        expectClose(outputs.y, want, dotTolerance(dtype, shape[1] + shape[2], 500), what);
      }
    }
  });

  it('says what does not fit', () => {
    const g = new Graph();
    const x = g.input('x', [1, 4, 4, 3], { layout: 'rows' });
    expect(() => resizeAntialias(x, { height: 0, width: 4 })).toThrow(InvalidArgumentError);
    expect(() => resizeAntialias(x, { height: 40000, width: 4 })).toThrow(InvalidArgumentError);
    expect(() => resizeAntialias(g.input('f', [4, 3], { layout: 'rows' }), { height: 4, width: 4 })).toThrow(
      ShapeError,
    );
  });
});
