/**
 * The rewrite driver. A rewrite is one pattern in one function with one switch; the driver offers it every node in
 * order until nothing changes. What the patterns are is the business of the ops that take part.
 */
import { rootOf, type Graph, type Node, type Tensor } from './graph.ts';

/** Replaces the pattern that ends in `node` by another node, or returns undefined. */
export interface Rewrite {
  readonly name: string;
  /** What replaces the pattern that ends in `node`; undefined where there is no such pattern. */
  apply(node: Node, view: GraphView): Replacement | undefined;
}

/**
 * `node` takes the place of the offered one; `removed` are other nodes that it makes superfluous. What nobody reads
 * afterwards is removed as well.
 */
export interface Replacement {
  node: Node;
  removed: readonly Node[];
  /** New nodes that run just before `node`. */
  before?: readonly Node[];
  /** Further nodes that change, by the node that each one replaces. */
  changed?: ReadonlyMap<Node, Node>;
}

/** What a rewrite may ask of the graph. */
export interface GraphView {
  readonly graph: Graph;
  /** Bytes that a binding may have; merged weights and results must stay below it. */
  readonly maxBinding: number;
  /** How many nodes read the tensor (through any view), an output counting as one. */
  uses(t: Tensor): number;
  /** The nodes that read the tensor, through any view, each as often as it reads it. */
  readers(t: Tensor): readonly Node[];
  /** The node that computes the tensor, or what it is a view of; undefined for inputs and weights. */
  producer(t: Tensor): Node | undefined;
  /** Whether the graph hands the tensor out. */
  isOutput(t: Tensor): boolean;
}

/** What every adapter takes. */
const DEFAULT_BINDING = 128 * 2 ** 20;

/** The nodes of a graph after all rewrites but those named in `off`, with how often each one fired. */
export function rewriteGraph(
  graph: Graph,
  rewrites: readonly Rewrite[],
  off: ReadonlySet<string> = new Set(),
  maxBinding = DEFAULT_BINDING,
): { nodes: Node[]; fired: Record<string, number> } {
  const rewriting = new Rewriting(graph, maxBinding);
  const fired: Record<string, number> = {};
  const active = rewrites.filter((r) => !off.has(r.name));
  for (let changed = true; changed;) {
    changed = false;
    for (let node = rewriting.first; node; node = rewriting.after(node)) {
      for (let i = 0; i < active.length; i++) {
        const found = active[i].apply(node, rewriting);
        if (!found) continue;
        rewriting.replace(node, found);
        fired[active[i].name] = (fired[active[i].name] ?? 0) + 1;
        changed = true;
        node = found.node;
        i = -1;
      }
    }
  }
  return { nodes: rewriting.nodes(), fired };
}

/** A graph's nodes as a list that is rewritten in place, with who reads and who computes what. */
class Rewriting implements GraphView {
  private readonly next = new Map<Node, Node | undefined>();
  private readonly previous = new Map<Node, Node | undefined>();
  private readonly readersOf = new Map<number, Node[]>();
  private readonly producers = new Map<number, Node>();
  private readonly outputs: ReadonlySet<number>;
  first: Node | undefined;

  constructor(
    readonly graph: Graph,
    readonly maxBinding: number,
  ) {
    this.outputs = new Set([...graph.outputs.values()].map((t) => rootOf(t).id));
    let last: Node | undefined;
    for (const node of graph.nodes) {
      this.link(last, node);
      this.link(node, undefined);
      last = node;
      this.enter(node);
    }
  }

  uses(t: Tensor): number {
    return this.readers(t).length + (this.isOutput(t) ? 1 : 0);
  }

  readers(t: Tensor): readonly Node[] {
    return this.readersOf.get(rootOf(t).id) ?? [];
  }

  producer(t: Tensor): Node | undefined {
    return this.producers.get(rootOf(t).id);
  }

  isOutput(t: Tensor): boolean {
    return this.outputs.has(rootOf(t).id);
  }

  after(node: Node): Node | undefined {
    return this.next.get(node);
  }

  /**
   * In their order, but for merged nodes that stand behind who reads them, since the last layer to become like the
   * others was what was replaced: they come first.
   */
  nodes(): Node[] {
    const all = new Set<Node>();
    const put = (node: Node) => {
      if (all.has(node)) return;
      for (const t of Object.values(node.inputs)) {
        const from = t && this.producer(t);
        if (from) put(from);
      }
      all.add(node);
    };
    for (let node = this.first; node; node = this.after(node)) put(node);
    return [...all];
  }

  replace(old: Node, { node, removed, before = [], changed }: Replacement): void {
    const read = [old, ...removed, ...(changed?.keys() ?? [])].flatMap((n) => Object.values(n.inputs));
    for (const gone of removed) this.remove(gone);
    for (const [from, to] of changed ?? []) this.exchange(from, to);
    this.exchange(old, node);
    for (const added of before) {
      this.link(this.previous.get(node), added);
      this.link(added, node);
      this.enter(added);
    }
    for (const t of read) this.removeUnread(t);
  }

  /** What nobody reads any more goes too. */
  private removeUnread(t: Tensor | undefined): void {
    const producer = t && this.uses(t) === 0 ? this.producer(t) : undefined;
    if (!producer) return;
    this.remove(producer);
    for (const input of Object.values(producer.inputs)) this.removeUnread(input);
  }

  private exchange(old: Node, node: Node): void {
    this.leave(old);
    this.link(this.previous.get(old), node);
    this.link(node, this.next.get(old));
    this.enter(node);
  }

  private remove(node: Node): void {
    this.leave(node);
    this.link(this.previous.get(node), this.next.get(node));
  }

  private link(a: Node | undefined, b: Node | undefined): void {
    if (a) this.next.set(a, b);
    else this.first = b;
    if (b) this.previous.set(b, a);
  }

  private enter(node: Node): void {
    this.producers.set(node.output.id, node);
    for (const t of Object.values(node.inputs)) {
      if (!t) continue;
      const { id } = rootOf(t);
      const readers = this.readersOf.get(id);
      if (readers) readers.push(node);
      else this.readersOf.set(id, [node]);
    }
  }

  private leave(node: Node): void {
    if (this.producers.get(node.output.id) === node) this.producers.delete(node.output.id);
    for (const t of Object.values(node.inputs)) {
      if (!t) continue;
      const readers = this.readersOf.get(rootOf(t).id)!;
      readers.splice(readers.indexOf(node), 1);
    }
  }
}
