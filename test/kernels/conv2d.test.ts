import { describe, expect, it } from 'vitest';
import {
  DEFAULT_CAPABILITIES,
  Graph,
  InvalidArgumentError,
  lowerNodes,
  ShapeError,
  type Tunables,
} from '../../src/engine/index.ts';
import { conv2d, type Conv2dOptions } from '../../src/kernels/conv2d.ts';
import { fromNchw, toNchw } from '../../src/kernels/index.ts';
import { convAt, convHeight, convReference, convWidth, type ConvCase } from '../reference/conv.ts';
import { dotTolerance, expectClose } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo, uniform } from '../support/random.ts';
import { forms, openDevice, runGraph, withoutSubgroups } from '../support/runGraph.ts';

/**
 * Symmetric, none, more than the kernel needs, and only below and on the right, as downsamplers of autoencoders have
 * it.
 */
const GEOMETRIES = [
  { name: '3×3', R: 3, S: 3, stride: 1, top: 1, left: 1, bottom: 1, right: 1 },
  { name: '3×3/2', R: 3, S: 3, stride: 2, top: 1, left: 1, bottom: 1, right: 1 },
  { name: '3×3/2 below and right', R: 3, S: 3, stride: 2, top: 0, left: 0, bottom: 1, right: 1 },
  { name: '1×1', R: 1, S: 1, stride: 1, top: 0, left: 0, bottom: 0, right: 0 },
  { name: '1×1/2', R: 1, S: 1, stride: 2, top: 0, left: 0, bottom: 0, right: 0 },
  { name: '1×1 padded', R: 1, S: 1, stride: 1, top: 1, left: 0, bottom: 2, right: 1 },
  { name: '2×4/3', R: 2, S: 4, stride: 3, top: 2, left: 3, bottom: 1, right: 2 },
  { name: '5×1', R: 5, S: 1, stride: 1, top: 2, left: 0, bottom: 2, right: 0 },
  { name: '4×4/4', R: 4, S: 4, stride: 4, top: 3, left: 3, bottom: 3, right: 3 },
  { name: '3×3, dilation 2', R: 3, S: 3, stride: 1, dilation: 2, top: 2, left: 2, bottom: 2, right: 2 },
  { name: '2×3/2, dilation 3', R: 2, S: 3, stride: 2, dilation: 3, top: 1, left: 2, bottom: 0, right: 4 },
];

/**
 * One pipeline each: compiling is what costs on a software adapter. `shared` ones share loads in a subgroup.
 */
const VARIANTS = [
  { name: 'plain', tile: { PIXELS: 4, WG_O: 4, WG_P: 16 }, act: 'silu', bias: true, shift: true, residual: true },
  { name: 'plain', tile: { PIXELS: 1, WG_O: 1, WG_P: 64 }, act: 'sigmoid', bias: false, shift: false, residual: true },
  { name: 'plain', tile: { PIXELS: 2, WG_O: 32, WG_P: 2 }, act: 'relu', bias: false, shift: true, residual: false },
  { name: 'tile 32', tile: { WG_N: 4, ROWS: 2, K4S: 2 }, act: 'silu', bias: true, shift: true, residual: true },
  { name: 'shared 1', tile: {}, act: 'none', bias: true, shift: false, residual: false },
  { name: 'shared 3', tile: {}, act: 'silu', bias: true, shift: true, residual: true },
  { name: 'shared 2', tile: {}, act: 'sigmoid', bias: false, shift: false, residual: true },
] as const;

const FORMS = forms();

const cases = pairwise({
  form: FORMS,
  variant: VARIANTS,
  geometry: GEOMETRIES,
  B: [1, 2],
  H: [3, 4, 7],
  W: [3, 5, 8, 9, 17],
  I: [1, 3, 4, 13],
  O: [1, 7, 17, 33],
  std: [1, 200],
});

function data(dtype: 'f32' | 'f16', c: ConvCase, std: number, seed = 1) {
  const taps = c.I * c.R * c.S;
  const outputs = c.B * convHeight(c) * convWidth(c) * c.O;
  return {
    x: roundTo(dtype, normals(seed, c.B * c.H * c.W * c.I, { std })),
    w: roundTo(dtype, normals(seed + 1, c.O * taps, { std: 1 / Math.sqrt(taps) })),
    bias: normals(seed + 2, c.O),
    shift: roundTo(dtype, normals(seed + 3, c.B * c.O)),
    residual: roundTo(dtype, normals(seed + 4, outputs)),
  };
}

/** Records one convolution of inputs x, shift and residual. */
function record(
  dtype: 'f32' | 'f16',
  c: ConvCase,
  use: { bias?: boolean; shift?: boolean; residual?: boolean } = {},
  options: Conv2dOptions = {},
) {
  const g = new Graph(dtype);
  const rows = { layout: 'rows', dtype } as const;
  const y = conv2d(
    g.input('x', [c.B, c.H, c.W, c.I], rows),
    { key: 'w', shape: [c.O, c.I, c.R, c.S] },
    use.bias ? { key: 'bias', shape: [c.O] } : undefined,
    {
      ...options,
      stride: c.stride,
      dilation: c.dilation,
      padding: c,
      shift: use.shift ? g.input('shift', [c.B, c.O], rows) : undefined,
      residual: use.residual ? g.input('residual', [c.B, convHeight(c), convWidth(c), c.O], rows) : undefined,
    },
  );
  g.output('y', y);
  return g;
}

describe.each(FORMS)('conv2d on $adapter, $storage', (form) => {
  const { adapter, dtype, options } = form;
  it.each(cases.filter((k) => k.form === form))(
    '$B×$H×$W×$I→$O $geometry.name $variant.name $variant.act std=$std',
    async ({ form: _, variant, geometry, std, ...sizes }) => {
      const c: ConvCase = { ...sizes, ...geometry };
      const { name, tile, act, bias, shift, residual } = variant;
      const device = await openDevice(adapter, name === 'plain' ? withoutSubgroups(options) : options);
      const tunables: Record<string, Tunables> = { conv2d: tile, conv2dTile: tile };
      const choices = { get: () => name };
      const caps = name.startsWith('tile') ? { software: false } : {};
      const d = data(dtype, c, std);
      const g = record(dtype, c, { bias, shift, residual }, { act, scale: 0.5 });
      const { outputs } = await runGraph(device, g, {
        inputs: { x: d.x, shift: d.shift, residual: d.residual },
        weights: { w: d.w, bias: d.bias },
        tunables,
        choices,
        caps,
      });
      const want = convReference(d.x, d.w, c, {
        bias: bias ? d.bias : undefined,
        shift: shift ? d.shift : undefined,
        residual: residual ? d.residual : undefined,
        act,
        scale: 0.5,
      });
      expectClose(outputs.y, want, dotTolerance(dtype, c.I * c.R * c.S, 5 * std), 'conv2d');
    },
  );

  it('keeps inputs of 6·10⁴ beside small ones', async () => {
    const device = await openDevice(adapter, options);
    const c: ConvCase = { B: 1, H: 6, W: 6, I: 5, O: 6, ...GEOMETRIES[0] };
    const d = data(dtype, c, 1);
    for (let i = 0; i < d.x.length; i += 11) d.x[i] = i % 2 ? 6e4 : -6e4;
    const { x, w } = {
      x: roundTo(dtype, d.x),
      w: roundTo(
        dtype,
        d.w.map((v) => v / 8),
      ),
    };
    const { outputs } = await runGraph(device, record(dtype, c), { inputs: { x }, weights: { w } });
    expectClose(outputs.y, convReference(x, w, c), dotTolerance(dtype, 45, 6e4), 'conv2d');
  });
});

describe.each(adapters())('conv2d on %s', (adapter) => {
  it('is right at 64×64×64→64, sampled', async () => {
    const device = await openDevice(adapter);
    const c: ConvCase = { B: 1, H: 64, W: 64, I: 64, O: 64, ...GEOMETRIES[0] };
    const d = data('f32', c, 1);
    const { outputs } = await runGraph(device, record('f32', c), { inputs: { x: d.x }, weights: { w: d.w } });
    const u = uniform(7);
    const at = Array.from({ length: 300 }, () => Math.floor(u() * outputs.y.length));
    const want = at.map((i) => convAt(d.x, d.w, c, {}, [0, Math.floor(i / 4096), Math.floor(i / 64) % 64, i % 64]));
    expectClose(
      at.map((i) => outputs.y[i]),
      want,
      dotTolerance('f32', 576, 5),
      'conv2d',
    );
  });

  it('is linear: conv(a·x + b·y) = a·conv(x) + b·conv(y)', async () => {
    const device = await openDevice(adapter);
    const c: ConvCase = { B: 2, H: 7, W: 9, I: 6, O: 10, ...GEOMETRIES[6] };
    const { x, w } = data('f32', c, 1);
    const y = normals(9, x.length);
    const run = async (input: Float32Array) =>
      (await runGraph(device, record('f32', c), { inputs: { x: input }, weights: { w } })).outputs.y;
    const [a, b] = [3, -0.25];
    const [of, together] = [[await run(x), await run(y)], await run(x.map((v, i) => a * v + b * y[i]))];
    expectClose(
      together,
      of[0].map((v, i) => a * v + b * of[1][i]),
      dotTolerance('f32', 48, 20),
      'linearity',
    );
  });
});

describe('conv2d shapes', () => {
  const g = new Graph();
  const x = g.input('x', [2, 8, 8, 6], { layout: 'rows' });
  const w = { key: 'conv.weight', shape: [4, 6, 3, 3] };

  it('lowers 1×1 to the matrix kernel, and only where every pixel has its own', () => {
    const y = conv2d(x, { key: 'k', shape: [4, 6, 1, 1] });
    expect(y.shape).toEqual([2, 8, 8, 4]);
    expect(conv2d(x, w, undefined, { stride: 2, padding: { top: 0, left: 0, bottom: 1, right: 1 } }).shape).toEqual([
      2, 4, 4, 4,
    ]);
    expect(conv2d(x, w, undefined, { padding: 1 }).shape).toEqual([2, 8, 8, 4]);
    expect(conv2d(x, w).shape).toEqual([2, 6, 6, 4]);
  });

  it.each([
    ['f16', 8, 32, 32, 'conv2dSubgroup'],
    ['f16', 8, 64, 64, 'conv2dSubgroup'],
    ['f16', 8, 128, 128, 'winogradProductSubgroup'],
    ['f16', 4, 64, 64, 'winogradProductSubgroup'],
    ['f32', 8, 32, 32, 'winogradProductSubgroup'],
  ] as const)(
    'in %s, where processors share among %i lanes, %i to %i channels take %s',
    (dtype, lanes, I, O, kernel) => {
      const g = new Graph(dtype);
      const image = fromNchw(g.input('x', [1, I, 32, 32]));
      g.output('y', toNchw(conv2d(image, { key: 'w', shape: [O, I, 3, 3] }, undefined, { padding: 1 })));
      const caps = { ...DEFAULT_CAPABILITIES, f16: true, software: true, subgroupSize: lanes };
      expect(lowerNodes(g, g.nodes, caps).map((d) => d.kernel.name)).toContain(kernel);
    },
  );

  it('names what does not fit', () => {
    expect(() => conv2d(x, { key: 'conv.weight', shape: [4, 5, 3, 3] })).toThrow(
      'conv2d: x has C=6 but weight expects I=5 (x [2,8,8,6], conv.weight [4,5,3,3])',
    );
    expect(() => conv2d(x, { key: 'fc', shape: [4, 6] })).toThrow(ShapeError);
    expect(() => conv2d(x, w, { key: 'conv.bias', shape: [3] })).toThrow(/bias \[4\], got conv.bias \[3\]/);
    expect(() => conv2d(x, { key: 'k', shape: [4, 6, 9, 9] })).toThrow(/at least 9×9/);
    expect(() => conv2d(x, w, undefined, { stride: 0 })).toThrow(InvalidArgumentError);
    expect(() => conv2d(x, w, undefined, { padding: -1 })).toThrow(/paddings of 0 or more/);
    const bad = g.input('bad', [2, 5], { layout: 'rows' });
    expect(() => conv2d(x, w, undefined, { shift: bad })).toThrow(/shift \[2,4\], got \[2,5\]/);
    expect(() => conv2d(x, w, undefined, { residual: bad })).toThrow(/residual \[2,6,6,4\]/);
    expect(() => conv2d(bad, w)).toThrow(/\[B,H,W,C\]/);
  });
});
