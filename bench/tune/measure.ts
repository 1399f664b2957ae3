/**
 * What is worth shipping: classes of shapes of which this adapter computes another way clearly faster than the usual
 * one.
 */
import { throwIfAborted, type Device, type Graph, type ShippedEntry } from '../../src/engine/index.ts';
import { rewritten } from '../../src/engine/prepare.ts';
import { placesOf, versionOf, waysOf } from '../../src/engine/tunePlaces.ts';
import { timeWays } from '../../src/engine/tuneTiming.ts';
import { rewrites } from '../../src/kernels/index.ts';
import { median } from '../statistics.ts';

/**
 * A way must take no more than this part of the usual one's time in every repetition; a smaller gain might not hold on
 * another machine.
 */
export const WORTH = 0.9;
/**
 * What a class must save, as a part of what all classes of a graph take: another shader has to be compiled for it,
 * which takes as long as hundreds of runs where a processor plays the GPU. As large as the margin of the tuner itself.
 */
export const WORTH_SHARE = 0.03;

/** Times of every way of a class, ms, one for each repetition. */
export type Repetitions = Readonly<Record<string, readonly number[]>>;

/** The way that is faster than the usual one every time, and by enough, if any; of several the fastest. */
export function clearlyFaster(times: Repetitions, usual: string): string | undefined {
  const base = times[usual];
  if (!base) return undefined;
  const better = Object.keys(times).filter(
    (way) => way !== usual && times[way].every((ms, i) => ms <= WORTH * base[i]),
  );
  return better.sort((a, b) => median(times[a]) - median(times[b]))[0];
}

export interface MeasureOptions {
  repetitions: number;
  signal?: AbortSignal;
  note?(line: string): void;
  /** Default: on the device. */
  time?: typeof timeWays;
}

/** What was found of every class in a graph that `seen` has not: an entry, or undefined where the usual way stays. */
export async function measureGraph(
  device: Device,
  graph: Graph,
  seen: ReadonlySet<string>,
  { repetitions, signal, note, time = timeWays }: MeasureOptions,
): Promise<Map<string, ShippedEntry | undefined>> {
  const { nodes } = rewritten(graph, device.caps, { rewrites });
  const classes = placesOf(graph, nodes, device.caps).map(({ place, nodes: count }) => {
    return { place, count, ways: waysOf(graph, place, device.caps), times: {} as Record<string, number[]> };
  });
  // Round after round over all classes: a busy second of the machine then falls on one repetition of few of them.
  for (let i = 0; i < repetitions; i++) {
    for (const { ways, times } of classes) {
      throwIfAborted(signal, 'tune');
      const round = (await time(device, ways, () => Infinity)) ?? {};
      for (const [way, ms] of Object.entries(round)) (times[way] ??= []).push(ms);
    }
  }
  const measured = classes.map(({ place, count, ways, times }) => {
    // Without a time the usual way was too large for a trial, and so is nothing to compare others with.
    const usualMs = times[place.usual] ? median(times[place.usual]) * count : 0;
    const way = clearlyFaster(times, place.usual);
    const saved = way === undefined ? 0 : usualMs - median(times[way]) * count;
    return { place, version: versionOf(ways), usualMs, way, saved, times };
  });
  const total = measured.reduce((sum, { usualMs }) => sum + usualMs, 0);
  const found = new Map<string, ShippedEntry | undefined>();
  for (const { place, version, usualMs, way, saved, times } of measured) {
    if (seen.has(place.key)) continue;
    const isWorth = way !== undefined && saved >= WORTH_SHARE * total;
    found.set(place.key, isWorth ? { way, version } : undefined);
    const shown = Object.entries(times).map(([name, ms]) => `${name} ${median(ms).toFixed(2)}`);
    const verdict = isWorth ? `, faster ${way}` : '';
    const share = usualMs > 0 ? `${(100 * (usualMs / total)).toFixed(1)} %` : 'not timed';
    note?.(`${place.key}: ${share}, usual ${place.usual}${verdict}; ms: ${shown.join(', ')}`);
  }
  return found;
}
