import { describe, expect, it } from 'vitest';
import {
  byteSize,
  DEFAULT_CAPABILITIES,
  DEFAULT_LIMITS,
  Graph,
  LimitError,
  planMemory,
  prepare,
  rootOf,
  type Prepared,
  type Tensor,
} from '../../src/engine/index.ts';
import { add, unary } from '../../src/kernels/elementwise.ts';
import { linear } from '../../src/kernels/matmul.ts';
import { pick, uniform } from '../support/random.ts';

/** A random graph of linears, activations and skip additions, as a U-Net has them. */
function randomGraph(seed: number): Graph {
  const u = uniform(seed);
  const g = new Graph('f32');
  let x: Tensor = g.input('x', [64, 64], { layout: 'rows' });
  const skips: Tensor[] = [];
  for (let i = 0; i < 30; i++) {
    const fits = skips.filter((s) => s.shape[1] === x.shape[1] && s !== x);
    const kind = Math.floor(u() * 3);
    if (kind === 0) {
      const width = pick(u, [16, 64, 100, 256]);
      x = linear(x, { key: `w${i}`, shape: [width, x.shape[1]] });
    } else if (kind === 1 && fits.length) {
      x = add(x, pick(u, fits));
    } else {
      x = unary(x, { act: 'silu' });
    }
    if (u() < 0.4) skips.push(x);
  }
  g.output('y', x);
  return g;
}

/**
 * Every tensor's lifetime and place; throws where two that live together overlap, or a dispatch reads what it writes.
 */
function checkPlan({ dispatches, plan }: Prepared): void {
  const life = new Map<number, { first: number; last: number; size: number }>();
  dispatches.forEach((d, i) => {
    const arenas = { read: new Set<number>(), write: new Set<number>() };
    for (const b of d.kernel.shader.bindings) {
      const t = d.bindings[b.name] && rootOf(d.bindings[b.name]!);
      const at = t && plan.places.get(t.id);
      if (!t || !at || b.access === 'uniform') continue;
      arenas[b.access].add(at.arena);
      const l = life.get(t.id) ?? { first: i, last: i, size: byteSize(t) };
      life.set(t.id, { ...l, last: i });
      expect(at.offset % DEFAULT_LIMITS.minStorageBufferOffsetAlignment).toBe(0);
      expect(at.offset + l.size).toBeLessThanOrEqual(plan.arenas[at.arena]);
    }
    for (const arena of arenas.write)
      expect(arenas.read.has(arena), `dispatch ${i} reads and writes an arena`).toBe(false);
  });
  const entries = [...life].map(([id, l]) => ({ id, ...l, ...plan.places.get(id)! }));
  for (const a of entries) {
    for (const b of entries) {
      if (a.id >= b.id || a.arena !== b.arena) continue;
      const together = a.first <= b.last && b.first <= a.last;
      const overlap = a.offset < b.offset + b.size && b.offset < a.offset + a.size;
      expect(together && overlap, `tensors ${a.id} and ${b.id} share memory while both live`).toBe(false);
    }
  }
}

describe('memory plan', () => {
  it('never lets two live tensors overlap, nor a dispatch read the arena it writes (40 random graphs)', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const prepared = prepare(randomGraph(seed), DEFAULT_CAPABILITIES);
      checkPlan(prepared);
      expect(prepared.plan.peakBytes).toBeGreaterThanOrEqual(prepared.plan.liveBytes);
    }
  });

  it('reuses memory: a chain of any length needs two tensors', () => {
    const g = new Graph('f32');
    let x: Tensor = g.input('x', [128, 128], { layout: 'rows' });
    for (let i = 0; i < 20; i++) x = unary(x, { act: 'silu' });
    g.output('y', x);
    const { plan } = prepare(g, DEFAULT_CAPABILITIES);
    expect(plan.peakBytes).toBe(2 * 128 * 128 * 4);
    expect(plan.liveBytes).toBe(plan.peakBytes);
  });

  it('keeps inputs, outputs and weights out of the arenas', () => {
    const g = new Graph('f32');
    const x = g.input('x', [8, 8], { layout: 'rows' });
    g.output('y', linear(x, { key: 'w', shape: [8, 8] }));
    const { plan, report } = prepare(g, DEFAULT_CAPABILITIES);
    expect(plan.places.size).toBe(0);
    expect(report).toMatchObject({ dispatches: 1, peakBytes: 0, weightBytes: 256, edgeBytes: 512 });
  });

  it('names the tensor that exceeds a binding, and what to do', () => {
    const g = new Graph('f32');
    const x = g.input('x', [2048, 2048 * 9], { layout: 'rows' });
    g.output('y', unary(unary(x)));
    expect(() => prepare(g, DEFAULT_CAPABILITIES)).toThrow(LimitError);
    expect(() => prepare(g, DEFAULT_CAPABILITIES)).toThrow(
      /elementwise: a \[2048,18432\] takes 144\.0 MiB.*dtype: 'f16'/,
    );
  });

  it('names the tensor that exceeds a buffer', () => {
    const g = new Graph('f32');
    const x = g.input('x', [64, 64], { layout: 'rows' });
    g.output('y', unary(unary(x)));
    const { dispatches } = prepare(g, DEFAULT_CAPABILITIES);
    const limits = { ...DEFAULT_LIMITS, maxBufferSize: 4096 };
    const pinned = new Set([x.id, rootOf(g.outputs.get('y')!).id]);
    expect(() => planMemory(dispatches, pinned, limits)).toThrow(/plan: elementwise \[64,64\] takes 16384 bytes/);
  });
});
