import { describe, expect, it } from 'vitest';
import { Graph, InvalidArgumentError, ShapeError, type Tunables } from '../../src/engine/index.ts';
import { conv2dTranspose, convInputGrad, type Conv2dTransposeOptions } from '../../src/kernels/conv2dTranspose.ts';
import { convHeight, convReference, convWidth } from '../reference/conv.ts';
import {
  convTransposeReference,
  transposedHeight,
  transposedWidth,
  type ConvTransposeCase,
} from '../reference/convTranspose.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, roundTo } from '../support/random.ts';
import { openDevice, runGraph, storages } from '../support/runGraph.ts';

const sides = (n: number) => ({ top: n, left: n, bottom: n, right: n });
const none = { bottom: 0, right: 0 };

/** VQ-VAE's, one that crops unevenly, dilated ones, and those that a plain convolution does. */
const GEOMETRIES = [
  { name: '4×4/2', R: 4, S: 4, stride: 2, dilation: 1, ...sides(1), more: none },
  { name: '3×3/2 +1', R: 3, S: 3, stride: 2, dilation: 1, ...sides(1), more: { bottom: 1, right: 1 } },
  {
    name: '2×3/3',
    R: 2,
    S: 3,
    stride: 3,
    dilation: 1,
    top: 0,
    left: 2,
    bottom: 1,
    right: 0,
    more: { bottom: 2, right: 1 },
  },
  { name: '3×3 dilated', R: 3, S: 3, stride: 1, dilation: 2, ...sides(2), more: none },
  { name: '3×2/2 dilated', R: 3, S: 2, stride: 2, dilation: 3, ...sides(1), more: { bottom: 1, right: 0 } },
  { name: '1×1/2', R: 1, S: 1, stride: 2, dilation: 1, ...sides(0), more: { bottom: 1, right: 1 } },
  { name: '3×3', R: 3, S: 3, stride: 1, dilation: 1, ...sides(1), more: none },
  { name: '3×1 cropped', R: 3, S: 1, stride: 1, dilation: 1, top: 3, left: 1, bottom: 0, right: 0, more: none },
];

/** Two tiles, so that few pipelines see many shapes; the second in f32 only. */
const SIZES = [
  { B: 2, H: 3, W: 5, I: 5, O: 7, tile: { WG_O: 2, WG_P: 32 } },
  { B: 1, H: 7, W: 9, I: 1, O: 1, tile: { WG_O: 2, WG_P: 32 } },
  { B: 1, H: 5, W: 4, I: 4, O: 13, tile: { PIXELS: 1, WG_O: 4, WG_P: 16 } },
] as const;

const data = (dtype: 'f32' | 'f16', c: ConvTransposeCase, std: number) => ({
  x: roundTo(dtype, normals(1, c.B * c.H * c.W * c.I, { std })),
  w: roundTo(dtype, normals(2, c.I * c.O * c.R * c.S, { std: 1 / Math.sqrt(c.I * c.R * c.S) })),
  bias: normals(3, c.O),
});

function record(dtype: 'f32' | 'f16', c: ConvTransposeCase, bias: boolean, options: Conv2dTransposeOptions = {}) {
  const g = new Graph(dtype);
  const x = g.input('x', [c.B, c.H, c.W, c.I], { layout: 'rows', dtype });
  const { stride, dilation, more: outputPadding } = c;
  const weight = { key: 'w', shape: [c.I, c.O, c.R, c.S] };
  const all = { stride, dilation, padding: c, outputPadding, ...options };
  g.output('y', conv2dTranspose(x, weight, bias ? { key: 'bias', shape: [c.O] } : undefined, all));
  return g;
}

describe.each(adapters())('conv2dTranspose on %s', (adapter) => {
  describe.each(storages(adapter))('%s', (_, dtype, options) => {
    it.each(GEOMETRIES)('$name', async (geometry) => {
      const device = await openDevice(adapter, options);
      for (const [i, { tile, ...sizes }] of SIZES.slice(0, dtype === 'f32' ? 3 : 2).entries()) {
        const c: ConvTransposeCase = { ...sizes, ...geometry };
        const std = i === 1 ? 200 : 1;
        const d = data(dtype, c, std);
        const bias = i !== 2;
        const g = record(dtype, c, bias, { act: i === 2 ? 'silu' : 'none', scale: 0.5 });
        expect(g.outputs.get('y')!.shape).toEqual([c.B, transposedHeight(c), transposedWidth(c), c.O]);
        const { outputs } = await runGraph(device, g, {
          inputs: { x: d.x },
          weights: { w: d.w, bias: d.bias },
          tunables: { conv2dTranspose: tile as Tunables },
        });
        const want = convTransposeReference(d.x, d.w, c, {
          bias: bias ? d.bias : undefined,
          act: i === 2 ? 'silu' : 'none',
          scale: 0.5,
        });
        expectClose(
          outputs.y,
          want,
          dotTolerance(dtype, c.I * c.R * c.S, 5 * std),
          `${geometry.name} ${sizes.H}×${sizes.W}`,
        );
      }
    });
  });

  it.each([
    { H: 6, W: 5, R: 3, S: 3, stride: 1, ...sides(1) },
    { H: 6, W: 7, R: 3, S: 3, stride: 2, ...sides(1) },
    { H: 5, W: 8, R: 3, S: 3, stride: 2, top: 0, left: 0, bottom: 1, right: 1 },
    { H: 4, W: 4, R: 1, S: 1, stride: 1, ...sides(0) },
    // Large enough for minimal filtering, whose transformed weight has to be this one's.
    { H: 17, W: 15, R: 3, S: 3, stride: 1, ...sides(1), I: 9, O: 10 },
  ])('is the adjoint of a convolution of $H×$W by $R×$S/$stride', async (geometry) => {
    const device = await openDevice(adapter);
    const c = { B: 2, I: 6, O: 5, ...geometry };
    const [OH, OW] = [convHeight(c), convWidth(c)];
    const x = normals(1, c.B * c.H * c.W * c.I);
    const w = normals(2, c.O * c.I * c.R * c.S);
    const dy = normals(3, c.B * OH * OW * c.O);
    const g = new Graph();
    const input = g.input('g', [c.B, OH, OW, c.O], { layout: 'rows' });
    const weight = { key: 'w', shape: [c.O, c.I, c.R, c.S] };
    const { H: height, W: width, stride } = c;
    g.output('dx', convInputGrad(input, weight, { height, width, stride, padding: c }));
    const { outputs } = await runGraph(device, g, { inputs: { g: dy }, weights: { w } });
    const y = convReference(x, w, c);
    const left = y.reduce((sum, v, i) => sum + v * dy[i], 0);
    const right = outputs.dx.reduce((sum, v, i) => sum + v * x[i], 0);
    expect(outputs.dx).toHaveLength(x.length);
    expectClose([right], [left], dotTolerance('f32', x.length, 100), '⟨conv x, g⟩ = ⟨x, convᵀ g⟩');
  });
});

describe('conv2dTranspose shapes', () => {
  const g = new Graph();
  const x = g.input('x', [1, 4, 4, 6], { layout: 'rows' });
  it('names what does not fit', () => {
    expect(() => conv2dTranspose(x, { key: 'w', shape: [5, 6, 3, 3] })).toThrow(
      /weight \[6,O,R,S\].*got w \[5,6,3,3\]/,
    );
    expect(() => conv2dTranspose(x, { key: 'w', shape: [6, 5, 3, 3] }, { key: 'b', shape: [6] })).toThrow(/bias \[5\]/);
    expect(() => conv2dTranspose(x, { key: 'w', shape: [6, 5, 1, 1] }, undefined, { padding: 2 })).toThrow(ShapeError);
    expect(() => conv2dTranspose(x, { key: 'w', shape: [6, 5, 3, 3] }, undefined, { stride: 0 })).toThrow(
      InvalidArgumentError,
    );
    expect(() => conv2dTranspose(x, { key: 'w', shape: [6, 5, 3, 3] }, undefined, { padding: -1 })).toThrow(
      /0 or more/,
    );
  });
});
