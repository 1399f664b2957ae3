/**
 * Tensors in each other's memory: results in place of operands, rows joined and cut out without a copy, and writes
 * beside what is read. On paper by following every block of memory through random graphs, and on adapters against
 * buffers apart.
 */
import { describe, expect, it } from 'vitest';
import {
  byteSize,
  DEFAULT_CAPABILITIES,
  Graph,
  lowerNodes,
  numel,
  prepare,
  Program,
  rootOf,
  Weights,
  type Capabilities,
  type Dispatch,
  type Prepared,
  type Tensor,
} from '../../src/engine/index.ts';
import { add, concat, linear, reshape, slice, unary } from '../../src/kernels/index.ts';
import { rmsNorm } from '../../src/kernels/rmsNorm.ts';
import { adapters } from '../support/gpu.ts';
import { normals, pick, uniform } from '../support/random.ts';
import { openDevice, runGraph } from '../support/runGraph.ts';

/** Elements of a token: a binding's offset is a multiple of its bytes. */
const D = 64;

const weight = (key: string, out: number, width: number) => ({ key, shape: [out, width] });

/** Sequences of up to a few times `T` tokens: layers with residuals, norms, sequences joined and taken apart. */
function record(seed: number, T: number, steps = 24): Graph {
  const u = uniform(seed);
  const most = 2 * T;
  const g = new Graph();
  const pool: Tensor[] = [
    unary(g.input('x', [1, T, D], { layout: 'rows' })),
    unary(g.input('y', [1, T, D], { layout: 'rows' })),
  ];
  const rowOf = (t: Tensor) => reshape(t, [1, numel(t.shape)]);
  const tokens = (t: Tensor) => reshape(t, [1, numel(t.shape) / D, D]);
  for (let i = 0; i < steps; i++) {
    const x = u() < 0.6 ? pool.at(-1)! : pick(u, pool);
    const alike = pool.filter((t) => t.shape[1] === x.shape[1]);
    const T = x.shape[1];
    const small = pool.filter((t) => t.shape[1] + T <= most);
    const kinds: (() => Tensor)[] = [
      () => {
        const h = linear(x, weight(`up${i}`, 4 * D, D), undefined, { act: 'relu' });
        return linear(h, weight(`down${i}`, D, 4 * D), undefined, { residual: pick(u, alike) });
      },
      () => linear(x, weight(`w${i}`, D, D), undefined, { residual: x }),
      () => rmsNorm(x, { key: `gamma${i}`, shape: [D] }, { eps: 1e-6 }),
      () => unary(x, { act: 'silu' }),
      () => add(x, pick(u, alike)),
      () => (small.length > 0 ? tokens(concat(rowOf(x), rowOf(pick(u, small)))) : x),
      () => (T >= 128 ? tokens(slice(rowOf(x), D * Math.floor((T * u()) / 2), D * T)) : x),
      () => (T >= 128 ? tokens(slice(rowOf(x), 0, D * Math.ceil(T / 2))) : x),
    ];
    pool.push(pick(u, kinds)());
  }
  g.output('a', unary(pool.at(-1)!, { alpha: 2 }));
  g.output('b', unary(pick(u, pool), { alpha: 3 }));
  return g;
}

const BLOCK = 256;

/** Blocks of the largest tensor, and more. */
const MANY = 2 ** 20;

/**
 * Follows every block through the dispatches that are left, beside the dispatches as they were lowered: what one reads
 * must be what its producer wrote. Returns how many copies were left out.
 */
function follow(lowered: readonly Dispatch[], { dispatches, plan }: Prepared): number {
  // What each block of a tensor was written by, as the graph says and in the arenas: dispatch · MANY + block.
  const origins = new Map<number, Float64Array>();
  const arenas = plan.arenas.map((bytes) => new Float64Array(Math.ceil(bytes / BLOCK)));
  const blocks = (t: Tensor) => Math.ceil(byteSize(rootOf(t)) / BLOCK);
  const written = (i: number, t: Tensor) => Float64Array.from({ length: blocks(t) }, (_, k) => i * MANY + k);
  const known = (t: Tensor) => origins.get(rootOf(t).id) ?? written(-1 - rootOf(t).id, t);
  let left = 0;
  let next = 0;
  lowered.forEach((d, i) => {
    const out = d.bindings.out!;
    const physical = dispatches[next];
    const stays = physical && rootOf(physical.bindings.out!) === rootOf(out);
    const parts = d.copies?.parts.flatMap((name) => [...known(d.bindings[name]!)]);
    const first = (d.copies?.at ?? 0) / BLOCK;
    const now = parts ? Float64Array.from(parts.slice(first, first + blocks(out))) : written(i + 1, out);
    origins.set(rootOf(out).id, now);
    if (!stays) {
      expect(d.copies, `dispatch ${i} has been left out`).toBeDefined();
      left++;
      return;
    }
    next++;
    for (const [name, t] of Object.entries(d.bindings)) {
      const at = t && name !== 'out' ? plan.places.get(rootOf(t).id) : undefined;
      if (!t || !at) continue;
      const there = arenas[at.arena].subarray(at.offset / BLOCK, at.offset / BLOCK + blocks(t));
      const wrong = known(t).findIndex((origin, k) => origin !== there[k]);
      expect(wrong, `block of ${name} in dispatch ${i} that holds something else`).toBe(-1);
    }
    const at = plan.places.get(rootOf(out).id);
    if (at) arenas[at.arena].set(now, at.offset / BLOCK);
    checkUses(physical, plan);
  });
  expect(next).toBe(dispatches.length);
  return left;
}

/** A buffer is read, or written in ranges apart. */
function checkUses({ kernel, bindings }: Dispatch, { places }: Prepared['plan']): void {
  const ranges = kernel.shader.bindings.flatMap(({ name, access }) => {
    const t = bindings[name] && rootOf(bindings[name]);
    const at = t && places.get(t.id);
    return at ? [{ name, access, arena: at.arena, from: at.offset, to: at.offset + byteSize(t) }] : [];
  });
  for (const a of ranges) {
    for (const b of ranges) {
      if (a === b || a.arena !== b.arena || (a.access === 'read' && b.access === 'read')) continue;
      expect(a.access, `${kernel.name} uses ${a.name} and ${b.name}`).toBe(b.access);
      expect(a.to <= b.from || b.to <= a.from, `${kernel.name}: ${a.name} and ${b.name} overlap`).toBe(true);
    }
  }
}

const sharing = (dispatches: readonly Dispatch[]) =>
  dispatches.filter((d) => d.kernel.shader.bindings.filter((b) => b.access === 'write').length > 1).length;
const inPlace = (dispatches: readonly Dispatch[]) => dispatches.filter((d) => d.tunables.IN_PLACE === true).length;

function planned(graph: Graph, caps: Capabilities) {
  const prepared = prepare(graph, caps);
  return { prepared, lowered: lowerNodes(graph, graph.nodes, caps) };
}

describe('memory on paper', () => {
  it('every dispatch reads what its producer wrote (30 random graphs), and every way to save memory is taken', () => {
    const total = { left: 0, inPlace: 0, sharing: 0 };
    for (let seed = 1; seed <= 30; seed++) {
      const { prepared, lowered } = planned(record(seed, 8192), DEFAULT_CAPABILITIES);
      total.left += follow(lowered, prepared);
      total.inPlace += inPlace(prepared.dispatches);
      total.sharing += sharing(prepared.dispatches) > 0 ? 1 : 0;
    }
    expect(Math.min(...Object.values(total))).toBeGreaterThan(3);
  });

  it('no arena exceeds a buffer, however little that holds (15 random graphs)', () => {
    const maxBufferSize = 4 * D * 16384 * 4;
    const caps = { ...DEFAULT_CAPABILITIES, limits: { ...DEFAULT_CAPABILITIES.limits, maxBufferSize } };
    let shared = 0;
    for (let seed = 1; seed <= 15; seed++) {
      const { prepared, lowered } = planned(record(seed, 8192), caps);
      follow(lowered, prepared);
      expect(Math.max(...prepared.plan.arenas)).toBeLessThanOrEqual(maxBufferSize);
      shared += sharing(prepared.dispatches) > 0 ? 1 : 0;
    }
    expect(shared).toBeGreaterThan(0);
  });
});

/** Seeds whose graphs take all the ways, on processors too. */
const SEEDS = [28];

const T = 4096;

describe.each(adapters())('memory on %s', (adapter) => {
  it.each(SEEDS)('gives what buffers apart give, seed %i', async (seed) => {
    const device = await openDevice(adapter);
    const data: Record<string, Float32Array> = {};
    for (const { constant } of record(seed, T).constants.values()) {
      const { key, shape } = constant!;
      data[key] = normals(seed, numel(shape), { std: shape.length > 1 ? 1 / Math.sqrt(shape[1]) : 1 });
    }
    const inputs = { x: normals(1, T * D), y: normals(2, T * D) };
    const apart = await runGraph(device, record(seed, T), { inputs, weights: data });
    const weights = new Weights(device, {
      name: 'drawn',
      keys: () => Object.keys(data),
      info: (key) => ({ dtype: 'F32', shape: [data[key].length] }),
      read: async (key) => data[key],
    });
    const graph = record(seed, T);
    const program = await Program.compile(device, graph, weights);
    const { dispatches } = program;
    expect(Math.min(graph.nodes.length - dispatches.length, inPlace(dispatches), sharing(dispatches))).toBeGreaterThan(
      0,
    );
    program.write('x', inputs.x);
    program.write('y', inputs.y);
    await program.run();
    for (const name of ['a', 'b']) expect(await program.read(name)).toEqual(apart.outputs[name]);
    program.dispose();
    weights.dispose();
  });
});
