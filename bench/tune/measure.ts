/** What is worth shipping: classes of shapes of which this adapter computes another way clearly faster than the usual one. */
import { throwIfAborted, type Device, type Graph, type ShippedEntry } from '../../src/engine/index.ts';
import { rewritten } from '../../src/engine/prepare.ts';
import { placesOf, versionOf, waysOf } from '../../src/engine/tunePlaces.ts';
import { timeWays } from '../../src/engine/tuneTiming.ts';
import { rewrites } from '../../src/kernels/index.ts';
import { median } from '../statistics.ts';

/** A way must take no more than this part of the usual one's time, in every repetition: another machine differs more. */
export const WORTH = 0.9;
/** Milliseconds of a dispatch that must be saved: small ones are mostly noise, and their shaders take time to compile. */
export const WORTH_MS = 0.05;

/** Times of every way of a class, one for each repetition. */
export type Repetitions = Readonly<Record<string, readonly number[]>>;

/** The way to ship, if any: faster than the usual one every time, and by enough. */
export function worthShipping(times: Repetitions, usual: string): string | undefined {
  const base = times[usual];
  if (!base) return undefined;
  const better = Object.keys(times).filter(
    (way) =>
      way !== usual &&
      times[way].every((ms, i) => ms <= WORTH * base[i]) &&
      median(base) - median(times[way]) >= WORTH_MS,
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
  const found = new Map<string, ShippedEntry | undefined>();
  const { nodes } = rewritten(graph, device.caps, { rewrites });
  for (const { place } of placesOf(graph, nodes, device.caps)) {
    if (seen.has(place.key)) continue;
    const ways = waysOf(graph, place, device.caps);
    const times: Record<string, number[]> = {};
    for (let i = 0; i < repetitions; i++) {
      throwIfAborted(signal, 'tune');
      for (const [way, ms] of Object.entries((await time(device, ways, () => Infinity)) ?? {})) {
        (times[way] ??= []).push(ms);
      }
    }
    const way = worthShipping(times, place.usual);
    found.set(place.key, way === undefined ? undefined : { way, version: versionOf(ways) });
    const shown = Object.entries(times).map(([name, ms]) => `${name} ${median(ms).toFixed(2)}`);
    note?.(`${place.key}: usual ${place.usual}${way ? `, SHIP ${way}` : ''}; ms: ${shown.join(', ')}`);
  }
  return found;
}
