/**
 * Rewrites that move an elementwise node into the epilogue of what computes its operand. Each is one pattern that ends
 * in an elementwise node; the fused node takes that node's place, so everything it reads has been computed by then. An
 * operand is only absorbed when nobody else reads it.
 */
import { type GraphView, type Node, type Rewrite, type Tensor } from '../engine/index.ts';
import { sameShape } from './common.ts';
import { convJoinNormOp, type ConvJoinNormAttrs } from './convJoinNorm.ts';
import { conv2dOp, type Conv2dAttrs } from './conv2d.ts';
import { elementwiseOp, type ElementwiseAttrs } from './elementwise.ts';
import { groupNormOp, type GroupNormAttrs } from './groupNorm.ts';
import { linearOp, type LinearAttrs } from './matmul.ts';
import { mergeEmbeddings, mergeGated, mergeProjections, mergeVectors } from './mergeRewrites.ts';
import { gatedAddOp } from './modulation.ts';
import { foldLayerNorm, foldNorm, joinNorm, leaveStatistics } from './normRewrites.ts';
import { foldConcat, foldSlice, foldUpsample } from './sourceRewrites.ts';
import { vectorLinearOp, type VectorLinearAttrs } from './vectorLinear.ts';

type Fused = Conv2dAttrs | LinearAttrs;

/** The node of one of `ops` whose result only `t` shows, with rows of `t`'s width. */
function soleProducer<A>(t: Tensor | undefined, ops: readonly object[], view: GraphView): Node<A> | undefined {
  const node = t && view.producer(t);
  if (!node || !ops.includes(node.op) || view.uses(t) !== 1) return undefined;
  return node.output.shape.at(-1) === t.shape.at(-1) ? (node as Node<A>) : undefined;
}

/** The elementwise attributes of a node of one kind. */
function elementwise(node: Node, kind: ElementwiseAttrs['kind']): ElementwiseAttrs | undefined {
  const attrs = node.attrs as ElementwiseAttrs;
  return node.op === (elementwiseOp as unknown) && attrs.kind === kind ? attrs : undefined;
}

/** `from` with other inputs and attributes, writing what `at` wrote. */
function moved<A>(from: Node<A>, at: Node, inputs: Node['inputs'], attrs: Partial<A>) {
  const node = {
    ...from,
    inputs: { ...from.inputs, ...inputs },
    attrs: { ...from.attrs, ...attrs },
    output: at.output,
  };
  return { node: node as Node, removed: [from as Node] };
}

/**
 * Whether nothing stands between the sum and the result, so that the sum can still be added to. An activation of a
 * gated layer is that of its gates.
 */
const isPlainSum = ({ inputs, attrs }: Node<Fused>) =>
  attrs.act === 'none' && !inputs.residual && attrs.scale === 1 && !(attrs as Partial<LinearAttrs>).gated;

/** act(conv2d(x)) and act(linear(x)): the activation goes into the epilogue; so does a factor alone. */
const foldActivation: Rewrite = {
  name: 'fold-activation',
  apply(node, view) {
    const unary = elementwise(node, 'unary');
    const vector = unary && soleProducer<VectorLinearAttrs>(node.inputs.a, [vectorLinearOp], view);
    if (vector) {
      const { act, alpha } = unary;
      return alpha === 1 && vector.attrs.post === 'none' ? moved(vector, node, {}, { post: act }) : undefined;
    }
    const from = unary && soleProducer<Fused>(node.inputs.a, [conv2dOp, linearOp], view);
    if (!from) return undefined;
    if (unary.act === 'none') return moved(from, node, {}, { scale: from.attrs.scale * unary.alpha });
    return unary.alpha === 1 && isPlainSum(from) ? moved(from, node, {}, { act: unary.act }) : undefined;
  },
};

/** alpha·conv2d(x) + beta·r, of one shape: r becomes the residual, where one factor can serve both. */
const foldResidual: Rewrite = {
  name: 'fold-residual',
  apply(node, view) {
    const sum = elementwise(node, 'add');
    const { a, b } = node.inputs;
    if (!sum || sum.act !== 'none' || !sameShape(a!.shape, b!.shape)) return undefined;
    for (const [mine, other, own, others] of [
      [a!, b!, sum.alpha, sum.beta],
      [b!, a!, sum.beta, sum.alpha],
    ] as const) {
      const vector = soleProducer<VectorLinearAttrs>(mine, [vectorLinearOp], view);
      if (vector && !vector.inputs.residual && vector.attrs.post === 'none' && own === 1 && others === 1) {
        return moved(vector, node, { residual: other }, {});
      }
      const from = soleProducer<Fused>(mine, [conv2dOp, linearOp], view);
      if (!from || from.inputs.residual || own * from.attrs.scale !== others) continue;
      return moved(from, node, { residual: other }, { scale: others });
    }
    return undefined;
  },
};

/** act(conv2d(x) + s) with s [B,C] the same at every pixel: s becomes the shift. */
const foldShift: Rewrite = {
  name: 'fold-shift',
  apply(node, view) {
    const sum = elementwise(node, 'add');
    const { a, b } = node.inputs;
    if (!sum || sum.alpha !== 1 || sum.beta !== 1 || sameShape(a!.shape, b!.shape)) return undefined;
    const from = soleProducer<Conv2dAttrs>(a, [conv2dOp], view);
    if (!from || !isPlainSum(from as Node<Fused>) || from.inputs.shift || a!.shape[0] !== from.attrs.B)
      return undefined;
    return moved(from, node, { shift: b }, { act: sum.act });
  },
};

/** x + gate·linear(y): gate and sum go into the epilogue. */
const foldGate: Rewrite = {
  name: 'fold-gate',
  apply(node, view) {
    if (node.op !== (gatedAddOp as unknown)) return undefined;
    const { x, y, m } = node.inputs;
    const from = soleProducer<LinearAttrs>(y, [linearOp], view);
    if (!from || from.inputs.residual || from.inputs.gate || from.attrs.scale !== 1) return undefined;
    return moved(from, node, { residual: x, gate: m }, { gateAt: (node.attrs as { gate: number }).gate });
  },
};

/** act(groupNorm(x)): the activation goes into the normalisation's last pass. */
const foldNormActivation: Rewrite = {
  name: 'fold-norm-activation',
  apply(node, view) {
    const unary = elementwise(node, 'unary');
    if (unary?.alpha !== 1) return undefined;
    const able = ({ act, scale = 1 }: GroupNormAttrs) => act === 'none' && scale === 1;
    const from = soleProducer<GroupNormAttrs>(node.inputs.a, [groupNormOp], view);
    if (from) return able(from.attrs) ? moved(from, node, {}, { act: unary.act }) : undefined;
    const behind = soleProducer<ConvJoinNormAttrs>(node.inputs.a, [convJoinNormOp], view);
    if (!behind || !able(behind.attrs.norm.attrs)) return undefined;
    const { norm } = behind.attrs;
    return moved(behind, node, {}, { norm: { ...norm, attrs: { ...norm.attrs, act: unary.act } } });
  },
};

/** Those that every graph goes through, in the order in which they are tried. */
export const rewrites: readonly Rewrite[] = [
  ...[foldShift, foldActivation, foldResidual, foldNormActivation, foldGate],
  ...[foldUpsample, foldConcat, foldSlice],
  ...[mergeGated, mergeProjections, mergeVectors, mergeEmbeddings],
  ...[foldLayerNorm, joinNorm],
];

/**
 * Rewrites that gained nothing where they were measured (docs/levers.md); off unless asked for, to measure elsewhere.
 */
export const optionalRewrites: readonly Rewrite[] = [foldNorm, leaveStatistics];
