/**
 * Mean and Σ(x − mean)² of every channel over chunks of a map: what norms begin with. A convolution that has the values
 * in registers anyway can leave them beside what it stores, for the norm that reads it; what was left is known while a
 * graph is lowered.
 */
import { rootOf, type Lowering, type Tensor } from '../engine/index.ts';
import { ceilDiv } from './common.ts';

/** A map of H rows of W pixels cut into K chunks of at most high × wide, `across` of them side by side. */
export type Chunks = Record<'K' | 'across' | 'H' | 'W' | 'high' | 'wide', number>;

/** f32 [B,K,2,C], means in front of sums of squares. */
export interface ChannelStats {
  stats: Tensor;
  chunks: Chunks;
}

/** Chunks of `rows` pixels of P, one behind the other. */
export function chunksInLine(P: number, rows: number): Chunks {
  const K = ceilDiv(P, rows);
  return { K, across: K, H: 1, W: P, high: 1, wide: rows };
}

/** Chunks of `side` by `side` pixels. */
export function chunksInTiles(H: number, W: number, side: number): Chunks {
  const across = ceilDiv(W, side);
  return { K: ceilDiv(H, side) * across, across, H, W, high: side, wide: side };
}

const LEFT = new WeakMap<Lowering, Map<number, ChannelStats>>();

/** Says that the statistics of what a node stores have been computed. */
export function leaveStats(of: Tensor, stats: ChannelStats, to: Lowering): void {
  if (!LEFT.has(to)) LEFT.set(to, new Map());
  LEFT.get(to)!.set(rootOf(of).id, stats);
}

/** Those of all `tensors`, where each has them over the same chunks of its pixels. */
export function leftStats(tensors: readonly Tensor[], to: Lowering): ChannelStats[] | undefined {
  const found = tensors.map((t) => LEFT.get(to)?.get(rootOf(t).id));
  const [first] = found;
  const known = found.filter((s) => s !== undefined);
  const fits = (s: ChannelStats, i: number) =>
    s.stats.shape[3] === tensors[i].shape.at(-1) && JSON.stringify(s.chunks) === JSON.stringify(first!.chunks);
  return known.length === tensors.length && known.every(fits) ? known : undefined;
}
