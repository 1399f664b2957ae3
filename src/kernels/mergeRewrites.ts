/**
 * Rewrites that merge several layers into one dispatch, their weights side by side in one tensor from the moment they
 * are packed. What read one of the results then reads its part of the wider one; where a reader cannot, nothing is
 * merged.
 *
 * Whether weights are merged depends on their shapes and on the structure of the graph, hardly ever on the size of a
 * picture: otherwise two calls of one model would each bring weights of their own.
 */
import { numel, rootOf, type GraphView, type Node, type Rewrite, type Tensor } from '../engine/index.ts';
import { sameShape, showsRows } from './common.ts';
import { elementwiseOp, type ElementwiseAttrs } from './elementwise.ts';
import { embeddingOp, type EmbeddingAttrs } from './embedding.ts';
import { linearOp, type LinearAttrs } from './matmul.ts';
import { packGated, packGatedVector } from './packing.ts';
import { vectorLinearOp, type VectorLinearAttrs } from './vectorLinear.ts';

const up4 = (n: number) => 4 * Math.ceil(n / 4);
const bytesOf = (t: Tensor) => numel(t.shape) * (t.dtype === 'f16' ? 2 : 4);
const is = <A>(node: Node | undefined, op: { name: string }): node is Node<A> => node?.op === (op as unknown);

/** All readers of `members`' results, reading parts of `merged` instead; undefined where one of them cannot. */
function readingParts(
  members: readonly { node: Node; at: number }[],
  merged: Tensor,
  view: GraphView,
): Map<Node, Node> | undefined {
  const changed = new Map<Node, Node>();
  for (const { node, at } of members) {
    if (view.isOutput(node.output)) return undefined;
    for (const reader of new Set(view.readers(node.output))) {
      let now: Node | undefined = changed.get(reader) ?? reader;
      for (const [name, t] of Object.entries(reader.inputs)) {
        if (!t || rootOf(t) !== node.output) continue;
        now = showsRows(t, node.output) ? now.op.readPart?.(now, name, merged, at) : undefined;
        if (!now) return undefined;
      }
      changed.set(reader, now);
    }
  }
  return changed;
}

/** As many of `nodes`, from the first on, as stay below a binding together, in weights and in what they write. */
function withinLimits<A>(nodes: readonly Node<A>[], weightOf: (node: Node<A>) => Tensor, view: GraphView): Node<A>[] {
  let [weights, results] = [0, 0];
  return nodes.filter((node) => {
    const [w, r] = [bytesOf(weightOf(node)), bytesOf(node.output)];
    if (weights + w > view.maxBinding || results + r > view.maxBinding) return false;
    weights += w;
    results += r;
    return true;
  });
}

/**
 * `node` and those of its siblings that can share a dispatch with it: their results side by side in one tensor
 * [...rows, Σ widths], and every reader reading its part of that. Undefined where there are not two of them.
 */
function sideBySide<A>(
  node: Node<A>,
  siblings: readonly Node<A>[],
  rows: readonly number[],
  weightOf: (node: Node<A>) => Tensor,
  view: GraphView,
): { members: Node<A>[]; output: Tensor; changed: Map<Node, Node> } | undefined {
  const able = siblings.filter((n) => readingParts([{ node: n as Node, at: 0 }], n.output, view));
  if (!able.includes(node)) return undefined;
  const members = withinLimits([node, ...able.filter((n) => n !== node)], weightOf, view);
  if (members.length < 2) return undefined;
  let width = 0;
  const parts = members.map((n) => {
    const at = width;
    width += n.output.shape.at(-1)!;
    return { node: n as Node, at };
  });
  const output = result(view, node.output, [...rows, width]);
  const changed = readingParts(parts, output, view);
  return changed && { members, output, changed };
}

/** Whether a tensor is a single weight, not several joined. */
const isOne = (t: Tensor) => t.constant !== undefined && t.constant.parts === undefined;

/** A tensor of the graph that is no node's yet. */
function result(view: GraphView, like: Tensor, shape: readonly number[]): Tensor {
  return view.graph.tensor(shape, like.dtype, like.layout, like.label);
}

/** Biases side by side, zeros where a layer has none; undefined where none has. */
function joinBiases(nodes: readonly Node[], view: GraphView): Tensor | undefined {
  if (!nodes.some((n) => n.inputs.bias)) return undefined;
  return view.graph.join(
    nodes.map((n) => n.inputs.bias ?? up4(n.output.shape.at(-1)!)),
    'columns',
  );
}

/** A linear layer of x alone whose weight is one matrix. */
function isPlain(node: Node | undefined): node is Node<LinearAttrs> {
  if (!is<LinearAttrs>(node, linearOp)) return false;
  const { attrs, inputs, output } = node;
  const weight = inputs.weight!;
  return (
    !inputs.residual &&
    !inputs.gate &&
    !inputs.second &&
    !attrs.layerNorm &&
    attrs.scale === 1 &&
    !attrs.gated &&
    isOne(weight) &&
    output.shape.at(-1)! % 4 === 0 &&
    sameShape(weight.shape, [up4(inputs.x!.shape.at(-1)!), output.shape.at(-1)!])
  );
}

/**
 * Linear layers of one x, with one activation: one matrix of all their columns. Queries, keys and values; keys and
 * values of a text for all cross-attentions of a network; what the blocks take from the timestep.
 */
export const mergeProjections: Rewrite = {
  name: 'merge-projections',
  apply(node, view) {
    if (!isPlain(node)) return undefined;
    const { x } = node.inputs;
    const siblings = [...new Set(view.readers(x!))].filter(
      (other): other is Node<LinearAttrs> =>
        isPlain(other) &&
        rootOf(other.inputs.x!) === rootOf(x!) &&
        sameShape(other.inputs.x!.shape, x!.shape) &&
        other.attrs.act === node.attrs.act &&
        other.inputs.weight!.dtype === node.inputs.weight!.dtype,
    );
    const found = sideBySide(node, siblings, x!.shape.slice(0, -1), (n) => n.inputs.weight!, view);
    if (!found) return undefined;
    const { members, output, changed } = found;
    const weights = members.map((n) => n.inputs.weight!);
    const inputs = { x, weight: view.graph.join(weights, 'columns'), bias: joinBiases(members, view) };
    const merged: Node<LinearAttrs> = { ...node, inputs, output };
    return { node: merged as Node, removed: members.slice(1) as Node[], changed };
  },
};

/** Layers of vectors, all of one size, that read one part each of the same rows: one dispatch over all of them. */
export const mergeVectors: Rewrite = {
  name: 'merge-vectors',
  apply(node, view) {
    if (!isSingle(node)) return undefined;
    const { x, residual } = node.inputs;
    const alike = [...new Set(view.readers(x!))].filter((n) => isSingle(n) && sameLayer(n, node)) as (typeof node)[];
    const able = alike.filter((n) => readingParts([{ node: n, at: 0 }], n.output, view));
    // Part by part: the layers that read the next part, and add the next part of the residual, as long as there is one.
    const { K, N } = node.attrs;
    const run = [node];
    for (let i = 1; ; i++) {
      const next = able.find(
        ({ attrs }) =>
          attrs.xAt === node.attrs.xAt + i * K && (!residual || attrs.residualAt === node.attrs.residualAt + i * N),
      );
      if (!next) break;
      run.push(next);
    }
    if (!able.includes(node)) return undefined;
    const members = run.slice(0, withinLimits(run, (n) => n.inputs.weight!, view).length);
    if (members.length < 2) return undefined;
    const output = result(view, node.output, [x!.shape[0], members.length * N]);
    const changed = readingParts(
      members.map((n, i) => ({ node: n, at: i * N })),
      output,
      view,
    );
    if (!changed) return undefined;
    const weights = members.map((n) => n.inputs.weight!);
    const inputs = { x, weight: view.graph.join(weights, 'stack'), bias: joinBiases(members, view), residual };
    const attrs = { ...node.attrs, groups: members.length, xStep: K };
    const merged: Node<VectorLinearAttrs> = { ...node, inputs, attrs, output };
    return { node: merged as Node, removed: members.slice(1) as Node[], changed };
  },
};

function isSingle(node: Node): node is Node<VectorLinearAttrs> {
  return is<VectorLinearAttrs>(node, vectorLinearOp) && node.attrs.groups === 1 && isOne(node.inputs.weight!);
}

function sameLayer(a: Node<VectorLinearAttrs>, b: Node<VectorLinearAttrs>): boolean {
  if (rootOf(a.inputs.x!) !== rootOf(b.inputs.x!)) return false;
  const same = (['K', 'N', 'act', 'post'] as const).every((key) => a.attrs[key] === b.attrs[key]);
  const [r, s] = [a.inputs.residual, b.inputs.residual];
  return (
    same &&
    a.attrs.N % 4 === 0 &&
    (r && rootOf(r)) === (s && rootOf(s)) &&
    sameShape(a.inputs.weight!.shape, b.inputs.weight!.shape)
  );
}

/** Look-ups of the same ids in several tables: one look-up in rows that hold the tables' side by side. */
export const mergeEmbeddings: Rewrite = {
  name: 'merge-embeddings',
  apply(node, view) {
    if (!isWhole(node)) return undefined;
    const { ids, table0 } = node.inputs;
    const siblings = [...new Set(view.readers(ids!))].filter(
      (n): n is Node<EmbeddingAttrs> =>
        isWhole(n) && n.attrs.V === node.attrs.V && n.inputs.table0!.dtype === table0!.dtype,
    );
    const found = sideBySide(node, siblings, node.output.shape.slice(0, -1), (n) => n.inputs.table0!, view);
    if (!found) return undefined;
    const { members, output, changed } = found;
    const tables = members.map((n) => n.inputs.table0!);
    const merged: Node = { ...(node as Node), inputs: { ids, table0: view.graph.join(tables, 'columns') }, output };
    return { node: merged, removed: members.slice(1) as Node[], changed };
  },
};

/** A look-up in a table that is one binding, of rows without padding. */
function isWhole(node: Node): node is Node<EmbeddingAttrs> {
  return (
    is<EmbeddingAttrs>(node, embeddingOp) &&
    node.attrs.starts.length === 2 &&
    node.output.shape.at(-1)! % 4 === 0 &&
    isOne(node.inputs.table0!)
  );
}

/**
 * linear(x)·act(linear(x)) of the two halves of one weight's rows: one matrix, gated in the epilogue (GEGLU, SwiGLU).
 */
export const mergeGated: Rewrite = {
  name: 'merge-gated',
  apply(node, view) {
    const product = node.attrs as ElementwiseAttrs;
    const { a, b } = node.inputs;
    if (!is(node, elementwiseOp) || product.kind !== 'mul' || product.act !== 'none' || product.alpha !== 1) {
      return undefined;
    }
    if (!sameShape(a!.shape, b!.shape)) return undefined;
    for (const [v, g] of [
      [a!, b!],
      [b!, a!],
    ]) {
      const [value, gate] = [view.producer(v), view.producer(g)];
      if (!isPlain(value) || !isPlain(gate) || value.attrs.act !== 'none') continue;
      if (v.shape.at(-1) !== value.output.shape.at(-1)) continue;
      if (view.uses(v) !== 1 || view.uses(g) !== 1 || value.inputs.x !== gate.inputs.x) continue;
      const weight = halves(value.inputs.weight!, gate.inputs.weight!);
      const bias = value.inputs.bias && gate.inputs.bias && halves(value.inputs.bias, gate.inputs.bias);
      if (!weight || !value.inputs.bias !== !bias || !gate.inputs.bias !== !bias) continue;
      const graph = view.graph;
      const inputs = {
        x: value.inputs.x,
        weight: graph.constant(weight, packGated, value.inputs.weight!.dtype),
        bias: bias && graph.constant(bias, packGatedVector, 'f32'),
      };
      const attrs = { act: gate.attrs.act, scale: 1, gated: true };
      return { node: { ...value, inputs, attrs, output: node.output } as Node, removed: [value, gate] as Node[] };
    }
    return undefined;
  },
};

/** The weight whose first half of rows is `a` and whose second is `b`. */
function halves(a: Tensor, b: Tensor): { key: string; shape: readonly number[] } | undefined {
  const [x, y] = [a.constant, b.constant];
  if (!x || !y) return undefined;
  const half = x.shape[0] / 2;
  const rows = (c: typeof x, from: number) => c.packing.rows?.[0] === from && c.packing.rows[1] === from + half;
  return x.key === y.key && rows(x, 0) && rows(y, half) ? { key: x.key, shape: x.shape } : undefined;
}
