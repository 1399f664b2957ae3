/** Dispatches that go by the shaders of others: fewer to translate, and the same values. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_CAPABILITIES, Graph, prepare, Program, Weights, type Dispatch } from '../../src/engine/index.ts';
import { linear, linearOp } from '../../src/kernels/matmul.ts';
import { packMatrix } from '../../src/kernels/packing.ts';
import { adapters } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

const [M, D] = [9, 12];
const PROCESSOR = { ...DEFAULT_CAPABILITIES, software: true, subgroupSize: 8 };
const weight = (key: string) => ({ key, shape: [D, D] });

/** Layers by themselves, and two that add to what they were given, one of them times a gate. */
function record(): Graph {
  const g = new Graph();
  const rows = { layout: 'rows' } as const;
  const first = linear(g.input('x', [M, D], rows), weight('a'));
  const second = linear(linear(first, weight('b'), undefined, { act: 'relu' }), weight('c'), undefined, {
    residual: first,
  });
  const inputs = {
    x: linear(second, weight('d')),
    ...{ weight: g.constant(weight('e'), packMatrix, 'f32'), residual: second, gate: g.input('gate', [1, D], rows) },
  };
  const third = g.record(linearOp, inputs, { act: 'none', scale: 1 } as const, [M, D]);
  g.output('y', linear(third, weight('f')));
  return g;
}

const shaders = (dispatches: readonly Dispatch[]) => [
  ...new Set(dispatches.map((d) => `${d.kernel.name} ${JSON.stringify(d.tunables)}`)),
];

describe('shaders of others', () => {
  it('serve layers without a residual where some have one, on processors', () => {
    const { dispatches } = prepare(record(), PROCESSOR);
    // Of the layers a to f, b has an activation and e a gate.
    expect(dispatches.map(({ tunables }) => tunables.IN_PLACE)).toEqual([true, false, true, true, true, true]);
    expect(shaders(dispatches)).toHaveLength(3);
    expect(shaders(prepare(record(), DEFAULT_CAPABILITIES).dispatches)).toHaveLength(4);
  });

  it('serve nobody who would need another one anyway', () => {
    const g = new Graph();
    const x = g.input('x', [M, D], { layout: 'rows' });
    // A residual that is an input of the graph is not worked on in its place.
    const kept = linear(x, weight('a'), undefined, { residual: x });
    const h = linear(linear(kept, weight('b')), weight('c'), undefined, { residual: kept });
    g.output('y', linear(h, weight('d')));
    const inPlace = prepare(g, PROCESSOR).dispatches.map(({ tunables }) => tunables.IN_PLACE);
    // The others gain nothing by the second shader, as long as the first has to be there.
    expect(inPlace).toEqual([false, false, true, false]);
  });

  it('serve no second product that is added to the first, but in its place', () => {
    const g = new Graph();
    const input = (name: string) => g.input(name, [M, D], { layout: 'rows' });
    const inputs = {
      ...{ x: input('x'), second: input('second') },
      weight: g.constant({ key: 'a', shape: [D, 2 * D] }, packMatrix, 'f32'),
    };
    const both = g.record(linearOp, inputs, { act: 'none', scale: 1 } as const, [M, D]);
    // Of a result that is an output of the graph, the first product lies elsewhere.
    g.output('both', both);
    const more = linear(linear(both, weight('b')), weight('c'), undefined, { residual: linear(both, weight('d')) });
    g.output('y', linear(more, weight('e')));
    const { dispatches } = prepare(g, PROCESSOR);
    expect(dispatches.map(({ bindings }) => bindings.residual !== undefined).filter(Boolean)).toHaveLength(1);
    for (const { tunables, bindings } of dispatches) if (bindings.residual) expect(tunables.IN_PLACE).toBe(false);
  });

  it.each(adapters())('give what shaders of their own give, on %s', async (adapter) => {
    const device = await openDevice(adapter);
    const data = Object.fromEntries([...'abcdef'].map((key, i) => [key, normals(i, D * D)]));
    const inputs = { x: normals(7, M * D), gate: normals(8, D) };
    const apart = await runGraph(device, record(), { inputs, weights: data });
    const weights = new Weights(device, {
      name: 'drawn',
      keys: () => Object.keys(data),
      info: (key) => ({ dtype: 'F32', shape: [data[key].length] }),
      read: async (key) => data[key],
    });
    const program = await Program.compile(device, record(), weights);
    for (const [name, values] of Object.entries(inputs)) program.write(name, values);
    await program.run();
    expect(await program.read('y')).toEqual(apart.outputs.y);
    program.dispose();
    weights.dispose();
  });
});
