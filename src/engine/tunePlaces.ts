/**
 * Where something can be chosen in a graph, what would be dispatched for each way, and which version of the kernels it
 * is.
 */
import type { Capabilities } from './device.ts';
import type { Graph, Node } from './graph.ts';
import { lowerNodes, type ChoicePlace, type Dispatch } from './lower.ts';
import { hashText } from './tuneStore.ts';

/** A class of shapes: how many nodes are of it, and the work of them all, multiply–adds × 2. */
export interface WeighedPlace {
  place: ChoicePlace;
  nodes: number;
  work: number;
}

/** One place for each key, those with the most work in all first: the budget should go where the time goes. */
export function placesOf(graph: Graph, nodes: readonly Node[], caps: Capabilities): WeighedPlace[] {
  const found = new Map<string, WeighedPlace>();
  for (const node of nodes) {
    let here: ChoicePlace | undefined;
    const dispatches = lowerNodes(graph, [node], caps, { onChoice: (place) => (here = place) });
    if (!here || here.ways.length < 2) continue;
    const of = found.get(here.key) ?? { place: here, nodes: 0, work: 0 };
    of.nodes++;
    of.work += dispatches.reduce((sum, d) => sum + d.flops, 0);
    found.set(here.key, of);
  }
  return [...found.values()].sort((a, b) => b.work - a.work);
}

/** What each way of a place would dispatch; ways that the device cannot run are left out. */
export function waysOf(graph: Graph, place: ChoicePlace, caps: Capabilities): Map<string, Dispatch[]> {
  const ways = new Map<string, Dispatch[]>();
  for (const way of place.ways) {
    try {
      ways.set(way, lowerNodes(graph, [place.node], caps, { choices: { get: () => way } }));
    } catch {
      continue; // beyond the device's limits
    }
  }
  return ways;
}

/**
 * A hash of the ways and of every kernel that they use; it does not depend on what follows a node's sum (bias, residual
 * …).
 */
export function versionOf(ways: ReadonlyMap<string, readonly Dispatch[]>): string {
  const parts = [...ways].map(([way, dispatches]) => {
    const shaders = dispatches.map(({ kernel: { shader } }) => shader.code + Object.values(shader.modules).join());
    return `${way}\n${shaders.join()}`;
  });
  return hashText(parts.join('\n'));
}
