import { describe, expect, it } from 'vitest';
import { Graph } from '../../src/engine/index.ts';
import { conv2d, type Conv2dOptions } from '../../src/kernels/conv2d.ts';
import { convAt, convHeight, convReference, convWidth, type ConvCase } from '../reference/conv.ts';
import { expectClose, winogradTolerance } from '../support/close.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pairwise, roundTo, uniform } from '../support/random.ts';
import { forms, openDevice, runGraph, storages, withoutSubgroups } from '../support/runGraph.ts';

const TAPS = { R: 3, S: 3, stride: 1 };
const GEOMETRIES = [
  { name: 'same', ...TAPS, top: 1, left: 1, bottom: 1, right: 1 },
  { name: 'valid', ...TAPS, top: 0, left: 0, bottom: 0, right: 0 },
  { name: 'uneven', ...TAPS, top: 0, left: 2, bottom: 3, right: 1 },
];

/** Few pipelines: compiling is what costs on a software adapter. */
const WAYS = [
  { way: 'winograd2 1', act: 'silu', bias: true, shift: true, residual: true },
  { way: 'winograd2 3', act: 'sigmoid', bias: false, shift: false, residual: true },
  { way: 'winograd2 0', act: 'silu', bias: true, shift: true, residual: true },
  { way: 'winograd4 1', act: 'sigmoid', bias: false, shift: false, residual: true },
  { way: 'winograd4 2', act: 'silu', bias: true, shift: true, residual: true },
  { way: 'winograd4 0', act: 'silu', bias: true, shift: true, residual: true },
] as const;

const FORMS = forms();

const cases = pairwise({
  form: FORMS,
  ways: WAYS,
  geometry: GEOMETRIES,
  B: [1, 2],
  H: [3, 4, 7, 13],
  W: [3, 5, 8, 9],
  I: [1, 4, 13],
  O: [13, 17, 36],
  std: [1, 200],
});

const tileOf = (way: string) => Number(way['winograd'.length]) as 2 | 4;

function data(dtype: 'f32' | 'f16', c: ConvCase, std: number) {
  const taps = 9 * c.I;
  return {
    x: roundTo(dtype, normals(1, c.B * c.H * c.W * c.I, { std })),
    w: roundTo(dtype, normals(2, c.O * taps, { std: 1 / Math.sqrt(taps) })),
    bias: normals(3, c.O),
    shift: roundTo(dtype, normals(4, c.B * c.O)),
    residual: roundTo(dtype, normals(5, c.B * convHeight(c) * convWidth(c) * c.O)),
  };
}

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
    { key: 'w', shape: [c.O, c.I, 3, 3] },
    use.bias ? { key: 'bias', shape: [c.O] } : undefined,
    {
      ...options,
      padding: c,
      shift: use.shift ? g.input('shift', [c.B, c.O], rows) : undefined,
      residual: use.residual ? g.input('residual', [c.B, convHeight(c), convWidth(c), c.O], rows) : undefined,
    },
  );
  g.output('y', y);
  return g;
}

/** Without lanes that share, transforms are those of cards, in few pipelines: SwiftShader takes seconds for each. */
const asCards = (way: string, adapter: string, dtype: string) =>
  way.endsWith(' 0') && (adapter !== 'swiftshader' || dtype === 'f32');

const force = (way: string) => ({ get: () => way });

describe.each(FORMS)('minimal filtering on $adapter, $storage', (form) => {
  const { adapter, dtype, options } = form;
  const possible = cases.filter((c) => c.form === form && (dtype === 'f32' || tileOf(c.ways.way) === 2));
  it.each(possible)(
    '$ways.way: $B×$H×$W×$I→$O $geometry.name std=$std',
    async ({ form: _, ways, geometry, std, ...sizes }) => {
      const c: ConvCase = { ...sizes, ...geometry };
      const { way, act, bias, shift, residual } = ways;
      const device = await openDevice(adapter, way.endsWith(' 0') ? withoutSubgroups(options) : options);
      const d = data(dtype, c, std);
      const card = asCards(way, adapter, dtype);
      const { outputs, dispatches } = await runGraph(
        device,
        record(dtype, c, { bias, shift, residual }, { act, scale: 0.5 }),
        {
          inputs: { x: d.x, shift: d.shift, residual: d.residual },
          weights: { w: d.w, bias: d.bias },
          choices: force(way),
          caps: card ? { software: false } : {},
        },
      );
      expect(dispatches).toHaveLength(3);
      expect([0, 2].map((i) => dispatches[i].tunables.FIXED)).toEqual([card, card]);
      const want = convReference(d.x, d.w, c, {
        bias: bias ? d.bias : undefined,
        shift: shift ? d.shift : undefined,
        residual: residual ? d.residual : undefined,
        act,
        scale: 0.5,
      });
      expectClose(outputs.y, want, winogradTolerance(dtype, tileOf(way), 9 * c.I, 5 * std), way);
    },
  );
});

describe.each(adapters())('minimal filtering on %s', (adapter) => {
  it('keeps inputs of 6·10⁴ beside small ones, in halves too', async () => {
    for (const [, dtype, options] of storages(adapter)) {
      const c: ConvCase = { B: 1, H: 6, W: 6, I: 5, O: 8, ...GEOMETRIES[0] };
      const d = data(dtype, c, 1);
      for (let i = 0; i < d.x.length; i += 11) d.x[i] = i % 2 ? 6e4 : -6e4;
      const x = roundTo(dtype, d.x);
      const w = roundTo(
        dtype,
        d.w.map((v) => v / 8),
      );
      const { outputs } = await runGraph(await openDevice(adapter, withoutSubgroups(options)), record(dtype, c), {
        inputs: { x },
        weights: { w },
        choices: force('winograd2 0'),
      });
      expectClose(outputs.y, convReference(x, w, c), winogradTolerance(dtype, 2, 45, 6e4), 'outliers');
    }
  });

  it('takes a large map in rounds', async () => {
    const device = await openDevice(adapter);
    const c: ConvCase = { B: 1, H: 200, W: 202, I: 4, O: 257, ...GEOMETRIES[0] };
    const d = data('f32', c, 1);
    const { outputs, dispatches } = await runGraph(device, record('f32', c), {
      inputs: { x: d.x },
      weights: { w: d.w },
      choices: force('winograd4 2'),
    });
    expect(dispatches).toHaveLength(9);
    const u = uniform(3);
    const at = Array.from({ length: 300 }, () => Math.floor(u() * outputs.y.length));
    const place = (i: number) => [0, Math.floor(i / 257 / 202), Math.floor(i / 257) % 202, i % 257] as const;
    expectClose(
      at.map((i) => outputs.y[i]),
      at.map((i) => convAt(d.x, d.w, c, {}, place(i))),
      winogradTolerance('f32', 4, 36, 5),
      'rounds',
    );
  });

  it.each(['winograd2 2', 'winograd4 2'] as const)('is right at 32×32×128→64, sampled: %s', async (way) => {
    const device = await openDevice(adapter);
    const c: ConvCase = { B: 1, H: 32, W: 32, I: 128, O: 64, ...GEOMETRIES[0] };
    const d = data('f32', c, 1);
    const run = record('f32', c);
    const { outputs } = await runGraph(device, run, { inputs: { x: d.x }, weights: { w: d.w }, choices: force(way) });
    const u = uniform(7);
    const at = Array.from({ length: 300 }, () => Math.floor(u() * outputs.y.length));
    const want = at.map((i) => convAt(d.x, d.w, c, {}, [0, Math.floor(i / 2048), Math.floor(i / 64) % 32, i % 64]));
    expectClose(
      at.map((i) => outputs.y[i]),
      want,
      winogradTolerance('f32', tileOf(way), 9 * 128, 1),
      way,
    );
  });
});
