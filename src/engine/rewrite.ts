/**
 * The rewrite driver. A rewrite is one pattern in one function with one switch; the driver offers it every node in
 * order until nothing changes. What the patterns are is the business of the ops that take part.
 */
import { rootOf, type Graph, type Node, type Tensor } from './graph.ts';

/** Replaces the pattern that ends in `node` by another node, or returns undefined. */
export interface Rewrite {
  readonly name: string;
  /** What takes the place of the pattern that ends in `node`; undefined where it does not stand here. */
  apply(node: Node, view: GraphView): Replacement | undefined;
}

/** `node` takes the place of the offered one; `removed` are earlier nodes that it makes superfluous. */
export interface Replacement {
  node: Node;
  removed: readonly Node[];
}

/** What a rewrite may ask of the graph. */
export interface GraphView {
  /** How many nodes read the tensor (through any view), an output counting as one. */
  uses(t: Tensor): number;
}

/** The nodes of a graph after all rewrites but those named in `off`, with how often each one fired. */
export function rewriteGraph(
  graph: Graph,
  rewrites: readonly Rewrite[],
  off: ReadonlySet<string> = new Set(),
): { nodes: Node[]; fired: Record<string, number> } {
  let nodes = [...graph.nodes];
  const fired: Record<string, number> = {};
  const active = rewrites.filter((r) => !off.has(r.name));
  for (let changed = true; changed;) {
    changed = false;
    const view = countUses(graph, nodes);
    for (let i = 0; i < nodes.length && !changed; i++) {
      for (const rewrite of active) {
        const found = rewrite.apply(nodes[i], view);
        if (!found) continue;
        nodes[i] = found.node;
        found.node.output.producer = found.node;
        const gone = new Set(found.removed);
        nodes = nodes.filter((n) => !gone.has(n));
        fired[rewrite.name] = (fired[rewrite.name] ?? 0) + 1;
        changed = true;
        break;
      }
    }
  }
  return { nodes, fired };
}

function countUses(graph: Graph, nodes: readonly Node[]): GraphView {
  const uses = new Map<number, number>();
  const count = (t: Tensor) => uses.set(rootOf(t).id, (uses.get(rootOf(t).id) ?? 0) + 1);
  for (const node of nodes) for (const t of Object.values(node.inputs)) if (t) count(t);
  for (const t of graph.outputs.values()) count(t);
  return { uses: (t) => uses.get(rootOf(t).id) ?? 0 };
}
