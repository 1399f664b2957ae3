/**
 * Tensors that have no memory of their own. A dispatch that only copies (whole rows, joined or cut out) is left out
 * where its operands can be placed inside its result from the start, or its result inside its operand. A kernel that
 * reads element i of a residual only to write element i of its result writes over the residual, where nobody reads that
 * afterwards.
 */
import { byteSize, rootOf, type Tensor } from './graph.ts';
import type { Dispatch } from './lower.ts';

/** Where a tensor lies: in another one, or in itself. */
export interface Within {
  readonly of: Tensor;
  /** Bytes from its start. */
  readonly at: number;
}

/**
 * The dispatches that remain, some of which work in place, and where tensors without memory of their own lie, by id.
 */
export interface InPlace {
  dispatches: Dispatch[];
  within: ReadonlyMap<number, Within>;
}

/** A chain of tensors that take over each other's memory ties little down if it spans no more dispatches than this. */
const SHORT = 32;

/** Where results take over memory: wherever they can; or only in short chains and where most memory is in use. */
export type Thrift = 'everywhere' | 'at the peak';

/**
 * @param pinned ids of tensors whose memory is not planned.
 * @param align bytes that a binding's offset is a multiple of.
 * @param thrift a long chain, such as a residual stream, has to stay in one place all the while, which can cost memory.
 */
export function workInPlace(
  dispatches: readonly Dispatch[],
  pinned: ReadonlySet<number>,
  align: number,
  thrift: Thrift = 'everywhere',
): InPlace {
  const memory = new Sharing(dispatches, pinned, align);
  const kept: (Dispatch | undefined)[] = dispatches.map((d, i) => (memory.copies(d, i) ? undefined : d));
  const live = thrift === 'everywhere' ? undefined : memory.live(kept);
  const peak = live?.reduce((most, bytes, i) => Math.max(most, bytes - operandBytes(kept[i])), 0) ?? 0;
  const changed = kept.map((d, i) => {
    const [from, out] = [d?.inPlace && d.bindings[d.inPlace], d?.bindings.out];
    if (!d?.inPlace || !from || !out || d.kernel.shader.consts.IN_PLACE === undefined) return d;
    if (live && live[i] < peak && memory.span(rootOf(from), rootOf(out)) > SHORT) return d;
    if (!memory.takesOver(rootOf(out), rootOf(from), i)) return d;
    return { ...d, tunables: { ...d.tunables, IN_PLACE: true }, bindings: { ...d.bindings, [d.inPlace]: undefined } };
  });
  return { dispatches: changed.filter((d) => d !== undefined), within: memory.within };
}

/** Bytes of the operand that a dispatch's result might take over. */
function operandBytes(d: Dispatch | undefined): number {
  const from = d?.inPlace ? d.bindings[d.inPlace] : undefined;
  return from ? byteSize(rootOf(from)) : 0;
}

/** Who lies in whom, while that is decided. */
class Sharing {
  readonly within = new Map<number, Within>();
  /** Dispatches that read and write a tensor, by its id; one that reads it twice is listed twice. */
  private readonly reads = new Map<number, number[]>();
  private readonly writes = new Map<number, number[]>();
  /** Tensors that lie in one, by its id. */
  private readonly members = new Map<number, Tensor[]>();

  constructor(
    dispatches: readonly Dispatch[],
    private readonly pinned: ReadonlySet<number>,
    private readonly align: number,
  ) {
    dispatches.forEach((d, i) => {
      for (const { name, access } of d.kernel.shader.bindings) {
        const t = d.bindings[name];
        if (!t || access === 'uniform') continue;
        const uses = access === 'read' ? this.reads : this.writes;
        uses.set(rootOf(t).id, [...(uses.get(rootOf(t).id) ?? []), i]);
      }
    });
  }

  /** Whether dispatch i does nothing but copy, and need not. */
  copies(d: Dispatch, i: number): boolean {
    const out = d.bindings.out && rootOf(d.bindings.out);
    if (!d.copies || !out || !this.isFree(out)) return false;
    const { parts, at = 0 } = d.copies;
    const operands = parts.map((name) => rootOf(d.bindings[name]!));
    if (operands.some((t) => this.pinned.has(t.id) || t.dtype !== out.dtype)) return false;
    const undo = this.forget(i, [...operands, out]);
    const stays = (t: Tensor) => this.overlapping(t).every((o) => this.writes.get(o.id)?.every((k) => k < i) ?? true);
    if (this.writes.get(out.id)!.length > 0 || !operands.every(stays)) return undo();
    if (d.copies.kind === 'cut') {
      const { of, at: before } = this.place(operands[0]);
      return this.move(out, { of, at: before + at }) || undo();
    }
    const starts = operands.map((_, k) => operands.slice(0, k).reduce((sum, t) => sum + byteSize(t), 0));
    const able =
      new Set(operands).size === operands.length &&
      operands.every((t, k) => this.isFree(t) && starts[k] % this.align === 0) &&
      this.apart([out, ...operands]);
    if (!able) return undo();
    operands.forEach((t, k) => this.move(t, { of: out, at: starts[k] }));
    return true;
  }

  /** Whether the result of dispatch i takes over the memory of an operand that nobody reads any more. */
  takesOver(out: Tensor, from: Tensor, i: number): boolean {
    if (this.pinned.has(out.id) || this.pinned.has(from.id)) return false;
    if (from.dtype !== out.dtype || byteSize(from) !== byteSize(out)) return false;
    const shown = this.overlapping(from);
    const read = shown.flatMap((t) => this.reads.get(t.id) ?? []);
    if (read.some((k) => k > i) || read.filter((k) => k === i).length !== 1) return false;
    if (shown.some((t) => this.writes.get(t.id)?.some((k) => k >= i))) return false;
    const undo = this.forget(i, [from]);
    if (this.isFree(out)) return this.move(out, this.place(from)) || undo();
    return (this.isFree(from) && this.move(from, this.place(out))) || undo();
  }

  /** Dispatch i no longer binds them; returns what takes that back. */
  private forget(i: number, tensors: readonly Tensor[]): () => false {
    const before = tensors.map(({ id }) => [id, this.reads.get(id), this.writes.get(id)] as const);
    for (const [id, reads, writes] of before) {
      this.reads.set(id, reads?.filter((k) => k !== i) ?? []);
      this.writes.set(id, writes?.filter((k) => k !== i) ?? []);
    }
    return () => {
      for (const [id, reads, writes] of before) {
        this.reads.set(id, reads ?? []);
        this.writes.set(id, writes ?? []);
      }
      return false;
    };
  }

  /** Bytes alive at each dispatch. */
  live(dispatches: readonly (Dispatch | undefined)[]): number[] {
    const lives = new Map<Tensor, { first: number; last: number }>();
    dispatches.forEach((d, i) => {
      for (const t of Object.values(d?.bindings ?? {})) {
        const of = t && this.place(rootOf(t)).of;
        if (!of || this.pinned.has(of.id)) continue;
        lives.set(of, { first: lives.get(of)?.first ?? i, last: i });
      }
    });
    const change = new Array<number>(dispatches.length + 1).fill(0);
    for (const [t, { first, last }] of lives) {
      change[first] += byteSize(t);
      change[last + 1] -= byteSize(t);
    }
    let bytes = 0;
    return dispatches.map((_, i) => (bytes += change[i]));
  }

  /** Dispatches from the first that writes or reads one of two tensors to the last. */
  span(...tensors: readonly Tensor[]): number {
    const groups = tensors.flatMap((t) => this.group(this.place(t).of));
    const uses = groups.flatMap(({ id }) => [...(this.reads.get(id) ?? []), ...(this.writes.get(id) ?? [])]);
    return Math.max(...uses) - Math.min(...uses);
  }

  private place(t: Tensor): Within {
    return this.within.get(t.id) ?? { of: t, at: 0 };
  }

  /** Whether a tensor can still be put somewhere. */
  private isFree(t: Tensor): boolean {
    return !this.pinned.has(t.id) && !this.within.has(t.id);
  }

  private group(t: Tensor): readonly Tensor[] {
    return [t, ...(this.members.get(t.id) ?? [])];
  }

  /** Everything that shows a byte of `t`, itself included. */
  private overlapping(t: Tensor): Tensor[] {
    const { of, at } = this.place(t);
    return this.group(of).filter((other) => {
      const start = this.place(other).at;
      return start < at + byteSize(t) && at < start + byteSize(other);
    });
  }

  /** Whether no dispatch reads some of these tensors, and what lies in them, and writes others. */
  private apart(tensors: readonly Tensor[]): boolean {
    const all = tensors.flatMap((t) => this.group(t));
    const read = new Set(all.flatMap((t) => this.reads.get(t.id) ?? []));
    return all.every((t) => (this.writes.get(t.id) ?? []).every((k) => !read.has(k)));
  }

  /** Puts a tensor, and what lies in it, into another one. */
  private move(t: Tensor, { of, at }: Within): boolean {
    if (of === t || at % this.align !== 0 || !this.apart([of, t])) return false;
    const moved = this.group(t);
    for (const m of moved) this.within.set(m.id, { of, at: at + this.place(m).at });
    this.members.set(of.id, [...(this.members.get(of.id) ?? []), ...moved]);
    this.members.delete(t.id);
    return true;
  }
}
