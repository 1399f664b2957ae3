/** Rewrites that let an op read its input where it lies: in a smaller map, in two tensors, in part of wider rows. */
import { rootOf, type GraphView, type Node, type Rewrite, type Tensor } from '../engine/index.ts';
import { sameShape, showsRows } from './common.ts';
import { concatOp } from './concat.ts';
import { conv2dOp, isPointwise, type Conv2dAttrs } from './conv2d.ts';
import { groupNormOp } from './groupNorm.ts';
import { linearOp, type LinearAttrs } from './matmul.ts';
import { sliceOp } from './slice.ts';
import { upsampleNearestOp } from './upsampleNearest.ts';

const is = (node: Node | undefined, op: { name: string }) => node?.op === (op as unknown);

/** conv2d(x doubled by nearest neighbour): the convolution reads each pixel as two by two. */
export const foldUpsample: Rewrite = {
  name: 'fold-upsample',
  apply(node, view) {
    if (!is(node, conv2dOp)) return undefined;
    const attrs = node.attrs as Conv2dAttrs;
    const { x, second } = node.inputs;
    const from = view.producer(x!);
    // What stands behind x is as large as x.
    if (second || !from || !is(from, upsampleNearestOp) || view.uses(x!) !== 1 || attrs.up === 2) return undefined;
    const small = from.inputs.x!;
    const [, H, W] = small.shape;
    if (!sameShape(x!.shape, from.output.shape) || attrs.H !== 2 * H || attrs.W !== 2 * W) return undefined;
    return {
      node: { ...node, inputs: { ...node.inputs, x: small }, attrs: { ...attrs, H, W, up: 2 } },
      removed: [from],
    };
  },
};

/** What reads channels cut out of wider rows reads them there. */
export const foldSlice: Rewrite = {
  name: 'fold-slice',
  apply(node, view) {
    for (const [name, t] of Object.entries(node.inputs)) {
      const from = t && view.producer(t);
      if (!from || !is(from, sliceOp) || !node.op.readPart || !showsRows(t, from.output)) continue;
      const wide = from.inputs.x!;
      const found = node.op.readPart(node, name, wide, (from.attrs as { from: number }).from);
      if (found) return { node: found, removed: [] };
    }
    return undefined;
  },
};

/**
 * What reads the channels of two tensors, joined for it, reads them apart; where one reader cannot, they are joined.
 */
export const foldConcat: Rewrite = {
  name: 'fold-concat',
  apply(node, view) {
    for (const t of Object.values(node.inputs)) {
      const joined = t && view.producer(t);
      if (!joined || !is(joined, concatOp)) continue;
      const { a, b } = joined.inputs;
      if (view.isOutput(joined.output) || a!.shape.at(-1)! % 4 !== 0) continue;
      const changed = new Map<Node, Node>();
      for (const reader of view.readers(joined.output)) {
        const found = apart(reader, joined.output, a!, b!, view);
        if (found) changed.set(reader, found);
      }
      if (changed.size !== view.readers(joined.output).length) continue;
      const mine = changed.get(node)!;
      changed.delete(node);
      return { node: mine, removed: [], changed };
    }
    return undefined;
  },
};

/** The reader with a and b as the two halves of its x. */
function apart(reader: Node, joined: Tensor, a: Tensor, b: Tensor, view: GraphView): Node | undefined {
  const { x, second } = reader.inputs;
  const pointwise = is(reader, conv2dOp) && isPointwise(reader.attrs as Conv2dAttrs) && !reader.inputs.shift;
  const dense = is(reader, linearOp) && !(reader.attrs as LinearAttrs).layerNorm;
  const able = is(reader, groupNormOp) || dense || pointwise;
  const others = Object.entries(reader.inputs).some(([name, t]) => name !== 'x' && t && rootOf(t) === joined);
  if (!able || second || others || x!.shape.at(-1) !== joined.shape.at(-1)) return undefined;
  const shown = (t: Tensor) => view.graph.view(t, [...x!.shape.slice(0, -1), t.shape.at(-1)!]);
  return { ...reader, inputs: { ...reader.inputs, x: shown(a), second: shown(b) } };
}
