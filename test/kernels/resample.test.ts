import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError, type Tensor } from '../../src/engine/index.ts';
import { avgPool2 } from '../../src/kernels/avgPool2.ts';
import { firDownsample, firUpsample, type FirOptions } from '../../src/kernels/firResample.ts';
import { upsampleNearest } from '../../src/kernels/upsampleNearest.ts';
import { avgPool2Reference, upfirdnReference, upsampleNearestReference, type Truth } from '../reference/resample.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters, isFullRun } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

type Device = Awaited<ReturnType<typeof openDevice>>;

async function run(device: Device, dtype: 'f32' | 'f16', shape: number[], std: number, op: (x: Tensor) => Tensor) {
  const data = roundTo(
    dtype,
    normals(
      3,
      shape.reduce((a, b) => a * b),
      { std },
    ),
  );
  const g = new Graph(dtype);
  const y = op(g.input('x', shape, { layout: 'rows', dtype }));
  g.output('y', y);
  const { outputs } = await runGraph(device, g, { inputs: { x: data } });
  return { x: { data, shape }, y: outputs.y, shape: y.shape };
}

function expectPicture(
  got: { y: Float32Array; shape: readonly number[] },
  want: Truth,
  tolerance: number,
  what: string,
) {
  expect(got.shape).toEqual(want.shape);
  expectClose(got.y, want.data, tolerance, what);
}

const pictures = [
  [1, 1, 1, 1],
  [2, 3, 5, 6],
  [1, 7, 4, 8],
];

/** The first three share their pipelines; the others are run in f32 only. */
const firCases: { shape: number[]; std: number; o: FirOptions }[] = [
  { shape: [2, 5, 4, 6], std: 1, o: {} },
  { shape: [1, 2, 2, 4], std: 1, o: { kernel: [1, 3, 3, 1] } },
  { shape: [1, 6, 8, 4], std: 1e4, o: { gain: 0.25 } },
  { shape: [1, 6, 6, 5], std: 1, o: { kernel: [1, 2, 5, 0, -1], factor: 3, gain: 2 } },
  { shape: [1, 4, 8, 4], std: 1, o: { kernel: [1, 2], factor: 4 } },
  { shape: [1, 5, 5, 3], std: 1, o: { kernel: [1, 4, 6, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9], factor: 1 } },
];

describe.each(adapters())('resampling on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(pictures)('nearest %i×%i×%i×%i', async (...shape) => {
      const device = await openDevice(adapter, options);
      const [, H, W] = shape;
      for (const [height, width] of [
        [2 * H, 2 * W],
        [H + 2, W + 3],
        [1, 1],
      ]) {
        const got = await run(device, dtype, shape, 6e4 / 6, (x) => upsampleNearest(x, { height, width }));
        expectPicture(got, upsampleNearestReference(got.x, height, width), 0, `${height}×${width}`);
      }
    });

    it.each([
      [2, 3, 5, 6],
      [1, 8, 2, 4],
    ])('means of 2×2 of %i×%i×%i×%i', async (...shape) => {
      const got = await run(await openDevice(adapter, options), dtype, shape, 1e4, avgPool2);
      expectPicture(got, avgPool2Reference(got.x), dotTolerance(dtype, 4, 5e4), 'avgPool2');
    });

    it.each(dtype === 'f32' || isFullRun ? firCases : firCases.slice(0, 3))(
      'FIR $o of $shape',
      async ({ shape, std, o }) => {
        const device = await openDevice(adapter, options);
        const { kernel = [1, 3, 3, 1], factor = 2, gain = 1 } = o;
        const sum = kernel.reduce((a, b) => a + b);
        const rest = kernel.length - factor;
        const down = await run(device, dtype, shape, std, (x) => firDownsample(x, o));
        const truth = (scale: number, how: Parameters<typeof upfirdnReference>[2]) =>
          upfirdnReference(
            down.x,
            kernel.map((t) => (t / sum) * Math.sqrt(scale)),
            how,
          );
        const pad = Math.floor((rest + 1) / 2);
        const end = Math.floor(rest / 2);
        const tolerance = dotTolerance(dtype, kernel.length ** 2, 10 * std * gain * factor ** 2);
        const want = truth(gain, { down: factor, pad: [pad, end] });
        expectPicture(down, want, tolerance, 'down');
        // A picture that grows by factor² in f16 would overflow from here.
        const up = await run(device, dtype, shape, Math.min(std, 1e3), (x) => firUpsample(x, o));
        expect(up.shape.slice(1, 3)).toEqual([shape[1] * factor, shape[2] * factor]);
        const upward = upfirdnReference(
          up.x,
          kernel.map((t) => (t / sum) * Math.sqrt(gain) * factor),
          {
            up: factor,
            pad: [pad + factor - 1, end],
          },
        );
        expectPicture(up, upward, tolerance, 'up');
      },
    );
  });

  it('keeps a constant picture constant away from the border', async () => {
    const device = await openDevice(adapter);
    const g = new Graph();
    const x = g.input('x', [1, 9, 9, 1], { layout: 'rows' });
    g.output('up', firUpsample(x));
    g.output('down', firDownsample(x));
    const { outputs } = await runGraph(device, g, { inputs: { x: new Float32Array(81).fill(3) } });
    const middle = [outputs.up[9 * 18 + 9], outputs.down[2 * 4 + 2]];
    expectClose(middle, [3, 3], dotTolerance('f32', 16, 3));
  });

  it('needs a second grid dimension at 512² × 64 channels and more, and writes the last pixel', async () => {
    const C = isFullRun ? 128 : 64;
    const g = new Graph('f16');
    const x = g.input('x', [1, 2, 2, C], { layout: 'rows', dtype: 'f16' });
    g.output('y', upsampleNearest(x, { height: 512, width: 512 }));
    const data = roundTo('f16', normals(9, 4 * C));
    const { outputs, dispatches } = await runGraph(await openDevice(adapter, { without: ['shader-f16'] }), g, {
      inputs: { x: data },
      tunables: { upsampleNearest: { WG: 64 } },
    });
    expect(dispatches[0].grid[1]).toBeGreaterThan(1);
    for (const [y, z] of [
      [0, 0],
      [255, 256],
      [256, 255],
      [511, 511],
    ]) {
      const from = (2 * Math.floor(y / 256) + Math.floor(z / 256)) * C;
      const at = (512 * y + z) * C;
      expectClose(outputs.y.subarray(at, at + C), data.subarray(from, from + C), 0, `pixel ${y} ${z}`);
    }
  });
});

describe('resampling arguments', () => {
  const g = new Graph();
  const x = g.input('x', [1, 4, 4, 3], { layout: 'rows' });
  const flat = g.input('flat', [4, 3], { layout: 'rows' });
  it('says what does not fit', () => {
    expect(() => upsampleNearest(flat, { height: 1, width: 1 })).toThrow(ShapeError);
    expect(() => upsampleNearest(x, { height: 0, width: 4 })).toThrow(/positive integer sizes, got 0 × 4/);
    expect(() => avgPool2(g.input('thin', [1, 1, 4, 3], { layout: 'rows' }))).toThrow(/at least 2 × 2 pixels/);
    expect(() => firUpsample(x, { kernel: [] })).toThrow(InvalidArgumentError);
    expect(() => firUpsample(x, { kernel: [1, -1] })).toThrow(/sum other than 0/);
    expect(() => firDownsample(x, { factor: 1.5 })).toThrow(/integer factor ≥ 1, got 1.5/);
    expect(() => firDownsample(x, { kernel: [1], factor: 5 })).toThrow(ShapeError);
  });
});
