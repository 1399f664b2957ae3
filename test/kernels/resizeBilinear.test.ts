import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError } from '../../src/engine/index.ts';
import { resizeBilinear } from '../../src/kernels/resizeBilinear.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

/** Naive, f64: the four pixels around each place, nearest ones where it lies outside. */
function truth(x: ArrayLike<number>, [B, H, W, C]: readonly number[], height: number, width: number, corners: boolean) {
  const place = (i: number, from: number, to: number): [number, number, number] => {
    const exact = corners ? (to > 1 ? (i * (from - 1)) / (to - 1) : 0) : ((i + 0.5) * from) / to - 0.5;
    const at = Math.min(Math.max(exact, 0), from - 1);
    return [Math.floor(at), Math.min(Math.floor(at) + 1, from - 1), at - Math.floor(at)];
  };
  const out = new Float64Array(B * height * width * C);
  for (let i = 0; i < out.length; i++) {
    const [c, p] = [i % C, Math.floor(i / C)];
    const b = Math.floor(p / (width * height));
    const [y0, y1, v] = place(Math.floor(p / width) % height, H, height);
    const [x0, x1, u] = place(p % width, W, width);
    const pixel = (y: number, z: number) => x[((b * H + y) * W + z) * C + c];
    out[i] =
      (1 - v) * ((1 - u) * pixel(y0, x0) + u * pixel(y0, x1)) + v * ((1 - u) * pixel(y1, x0) + u * pixel(y1, x1));
  }
  return out;
}

describe.each(adapters())('bilinear resampling on %s', (adapter) => {
  it.each(storages(adapter))('%s', async (_, dtype, options) => {
    const device = await openDevice(adapter, options);
    for (const [shape, height, width] of [
      [[2, 3, 5, 6], 8, 9],
      [[1, 7, 4, 1], 3, 1],
      [[1, 1, 1, 4], 2, 3],
      [[1, 4, 4, 3], 16, 16],
    ] as const) {
      for (const alignCorners of [false, true]) {
        const data = roundTo(
          dtype,
          normals(
            3,
            shape.reduce<number>((a, b) => a * b, 1),
            { std: 100 },
          ),
        );
        const g = new Graph(dtype);
        const x = g.input('x', shape, { layout: 'rows', dtype });
        g.output('y', resizeBilinear(x, { height, width, alignCorners }));
        const { outputs } = await runGraph(device, g, { inputs: { x: data } });
        const want = truth(data, shape, height, width, alignCorners);
        expectClose(outputs.y, want, dotTolerance(dtype, 16, 500), `${shape.join('×')} → ${height}×${width}`);
      }
    }
  });

  it('says what does not fit', () => {
    const g = new Graph();
    const x = g.input('x', [1, 4, 4, 3], { layout: 'rows' });
    expect(() => resizeBilinear(x, { height: 0, width: 4 })).toThrow(InvalidArgumentError);
    expect(() => resizeBilinear(g.input('f', [4, 3], { layout: 'rows' }), { height: 4, width: 4 })).toThrow(ShapeError);
  });
});
