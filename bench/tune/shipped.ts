/** The file of what is shipped: read, checked against the kernels as they are, changed, written. */
import {
  DEFAULT_CAPABILITIES,
  type AdapterTraits,
  type Capabilities,
  type Graph,
  type ShippedAdapter,
  type ShippedEntry,
} from '../../src/engine/index.ts';
import { rewritten } from '../../src/engine/prepare.ts';
import { sameTraits } from '../../src/engine/shippedTuning.ts';
import { placesOf, versionOf, waysOf } from '../../src/engine/tunePlaces.ts';
import { rewrites } from '../../src/kernels/index.ts';

/** What kernels may count on where an adapter reports this; limits are those that every adapter has. */
export const capabilitiesOf = ({ subgroupSize, f16, matrices, software }: AdapterTraits): Capabilities => {
  return { ...DEFAULT_CAPABILITIES, subgroupSize, f16, matrices: matrices || undefined, software };
};

/** The versions of all classes that graphs have on an adapter, by key. */
export function versionsOf(graphs: Iterable<Graph>, caps: Capabilities): Map<string, string> {
  const versions = new Map<string, string>();
  for (const graph of graphs) {
    const { nodes } = rewritten(graph, caps, { rewrites });
    for (const { place } of placesOf(graph, nodes, caps)) {
      if (!versions.has(place.key)) versions.set(place.key, versionOf(waysOf(graph, place, caps)));
    }
  }
  return versions;
}

/** Keys of entries that say nothing any more: of kernels that have changed since, or of no class that there is. */
export function staleKeys({ entries }: ShippedAdapter, versions: ReadonlyMap<string, string>): string[] {
  return Object.keys(entries).filter((key) => entries[key].version !== versions.get(key));
}

/** With what was found of one adapter: what stays usual is taken out, what was not looked at stays as it was. */
export function withFound(
  shipped: readonly ShippedAdapter[],
  { about, match }: Pick<ShippedAdapter, 'about' | 'match'>,
  found: ReadonlyMap<string, ShippedEntry | undefined>,
): ShippedAdapter[] {
  const before = shipped.find((adapter) => sameTraits(adapter.match, match));
  const entries = new Map<string, ShippedEntry | undefined>([...Object.entries(before?.entries ?? {}), ...found]);
  const changed = { about, match, entries: sorted(entries) };
  return before ? shipped.map((adapter) => (adapter === before ? changed : adapter)) : [...shipped, changed];
}

/** Without the entries named. */
export function withoutKeys(adapter: ShippedAdapter, keys: readonly string[]): ShippedAdapter {
  const left = Object.entries(adapter.entries).filter(([key]) => !keys.includes(key));
  return { ...adapter, entries: sorted(new Map(left)) };
}

const sorted = (entries: ReadonlyMap<string, ShippedEntry | undefined>): Record<string, ShippedEntry> =>
  Object.fromEntries(
    [...entries]
      .filter((pair): pair is [string, ShippedEntry] => pair[1] !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
