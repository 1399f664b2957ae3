/**
 * Results that take over the memory of an operand. A kernel that reads element i of it only to write element i of its result
 * can do so through one binding; where nobody reads the operand afterwards, the two are one tensor to the memory plan.
 */
import { byteSize, rootOf, type Tensor } from './graph.ts';
import type { Dispatch } from './lower.ts';

/** The dispatches, some of which work in place, and whose memory a tensor has, by its id. */
export interface InPlace {
  dispatches: Dispatch[];
  sameAs: ReadonlyMap<number, Tensor>;
}

/** @param pinned ids of tensors whose memory is not planned. */
export function workInPlace(dispatches: readonly Dispatch[], pinned: ReadonlySet<number>): InPlace {
  const reads = new Map<number, { last: number; there: number }>();
  const written = new Set<number>();
  dispatches.forEach((d, i) => {
    for (const { name, access } of d.kernel.shader.bindings) {
      const t = d.bindings[name];
      if (!t) continue;
      const { id } = rootOf(t);
      if (access === 'write') written.add(id);
      const before = reads.get(id);
      if (access === 'read') reads.set(id, { last: i, there: before?.last === i ? before.there + 1 : 1 });
    }
  });
  const sameAs = new Map<number, Tensor>();
  const changed = dispatches.map((d, i) => {
    const [from, out] = [d.inPlace && d.bindings[d.inPlace], d.bindings.out];
    if (!d.inPlace || !from || !out || d.kernel.shader.consts.IN_PLACE === undefined) return d;
    const [a, b] = [rootOf(from), rootOf(out)];
    const { last, there } = reads.get(a.id)!;
    const planned = written.has(a.id) && !pinned.has(a.id) && !pinned.has(b.id) && !sameAs.has(b.id);
    if (!planned || last !== i || there !== 1 || a.dtype !== b.dtype || byteSize(a) !== byteSize(b)) return d;
    sameAs.set(b.id, sameAs.get(a.id) ?? a);
    return { ...d, tunables: { ...d.tunables, IN_PLACE: true }, bindings: { ...d.bindings, [d.inPlace]: undefined } };
  });
  return { dispatches: changed, sameAs };
}
