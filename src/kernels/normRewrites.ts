/**
 * Rewrites that take a norm in front of a convolution apart: its statistics into the epilogue of what computes its
 * input, its use into the loads of what reads it; one that gives a layer norm to the linear layer behind it; and one
 * that gives a group norm to the convolution in front of it. Whether they then do so depends on how they are computed
 * (`convNorm.ts`, `linearNorm.ts`, `convJoinNorm.ts`).
 */
import { rootOf, type GraphView, type Node, type Rewrite, type Tensor } from '../engine/index.ts';
import { conv2dOp, isPointwise, type Conv2dAttrs } from './conv2d.ts';
import { convJoinNormOp } from './convJoinNorm.ts';
import { groupNormOp, type GroupNormAttrs } from './groupNorm.ts';
import { layerNormOp } from './layerNorm.ts';
import { linearOp, type LinearAttrs } from './matmul.ts';
import { adaptiveNormOp } from './modulation.ts';

function asConv(node: Node | undefined): Node<Conv2dAttrs> | undefined {
  const conv = node?.op === (conv2dOp as unknown) ? (node as Node<Conv2dAttrs>) : undefined;
  return conv && !isPointwise(conv.attrs) ? conv : undefined;
}

/** conv2d(act(groupNorm(x))): one node, which lowers to either or both. */
export const foldNorm: Rewrite = {
  name: 'fold-norm',
  apply(node, view) {
    const conv = asConv(node);
    if (!conv || conv.attrs.norm) return undefined;
    const { x } = conv.inputs;
    const from = view.producer(x!);
    if (!from || from.op !== (groupNormOp as unknown) || view.uses(x!) !== 1) return undefined;
    const norm = from.attrs as GroupNormAttrs;
    const { B, I } = conv.attrs;
    const { shape } = from.output;
    if ((norm.scale ?? 1) !== 1 || shape[0] !== B || shape.at(-1) !== I) return undefined;
    const { x: input, second, gamma, beta } = from.inputs;
    return {
      node: {
        ...conv,
        inputs: { ...conv.inputs, x: input, second, gamma, beta },
        attrs: { ...conv.attrs, norm },
      } as Node,
      removed: [from],
    };
  },
};

const LAYER_NORMS: readonly object[] = [layerNormOp, adaptiveNormOp];

/**
 * linear(layerNorm(x)), with weights or with scale and shift from a condition: one node, which may lower to one
 * dispatch.
 */
export const foldLayerNorm: Rewrite = {
  name: 'fold-layer-norm',
  apply(node, view) {
    if (node.op !== (linearOp as unknown)) return undefined;
    const layer = node as Node<LinearAttrs>;
    const { x, second } = layer.inputs;
    const from = view.producer(x!);
    if (second || layer.attrs.layerNorm || !from || !LAYER_NORMS.includes(from.op) || view.uses(x!) !== 1)
      return undefined;
    const { x: input, gamma, beta, m } = from.inputs;
    if (x!.shape.at(-1) !== from.output.shape.at(-1) || (beta && !gamma)) return undefined;
    const inputs = { ...layer.inputs, x: input, gamma, beta, m };
    const attrs = { ...layer.attrs, layerNorm: { node: from, x: x! } };
    return { node: { ...layer, inputs, attrs } as Node, removed: [from] };
  },
};

/** Pixels of a map from which on a workgroup that joins and normalises reads for longer than a dispatch takes. */
const SMALL = 32 * 32;

/**
 * groupNorm(conv2d(x)) on a small map, where nobody else reads the convolution's result: one node, which may join parts
 * of sums and normalise them in one dispatch. Only matrices of halves compute in parts.
 */
export const joinNorm: Rewrite = {
  name: 'join-norm',
  apply(node, view) {
    if (node.op !== (groupNormOp as unknown) || view.graph.dtype !== 'f16') return undefined;
    const norm = node as Node<GroupNormAttrs>;
    const { x, second, gamma, beta } = norm.inputs;
    const conv = asConv(view.producer(x!));
    if (second || norm.attrs.algorithm || !conv || conv.attrs.norm || conv.attrs.stats || view.uses(x!) !== 1)
      return undefined;
    const { B, O, OH, OW } = conv.attrs;
    if (x!.shape[0] !== B || x!.shape.at(-1) !== O || OH * OW > SMALL) return undefined;
    const { label } = conv;
    const inputs = { ...conv.inputs, gamma, beta };
    return {
      node: { op: convJoinNormOp, inputs, attrs: { conv, norm }, output: norm.output, label } as Node,
      removed: [conv as Node],
    };
  },
};

/** A convolution whose result a convolution behind a norm reads: it may leave the norm's statistics. */
export const leaveStatistics: Rewrite = {
  name: 'leave-statistics',
  apply(node, view) {
    const conv = asConv(node);
    if (!conv || conv.attrs.stats || !view.readers(conv.output).some((reader) => normalises(reader, conv.output, view)))
      return undefined;
    return { node: { ...conv, attrs: { ...conv.attrs, stats: true } } as Node, removed: [] };
  },
};

/** Whether a convolution normalises the tensor before it reads it, in a way that could use its statistics. */
function normalises(reader: Node, t: Tensor, view: GraphView): boolean {
  const { norm, R, S, stride, up = 1 } = (asConv(reader)?.attrs ?? {}) as Partial<Conv2dAttrs>;
  if (!norm || R !== 3 || S !== 3 || stride !== 1 || up !== 1) return false;
  const { x, second } = reader.inputs;
  return (
    [x, second].every((s) => !s || asConv(view.producer(s))) && [x, second].some((s) => s && rootOf(s) === rootOf(t))
  );
}
