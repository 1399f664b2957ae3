/**
 * A convolution whose result only a group norm reads: apart or, where sums are computed in parts, joined and normalised
 * at once.
 */
import { defineKernel, type Lowering, type Node, type Op } from '../engine/index.ts';
import { activationCode, ceilDiv } from './common.ts';
import { conv2dOp, conv2dWays, type Conv2dAttrs } from './conv2d.ts';
import shader from './conv2dJoinNorm.wgsl';
import { lowerSums, matrixChoice } from './conv2dMatrix.ts';
import { CONV_OUT, convOut } from './convOut.ts';
import { CACHES, DISPATCH, MULTIPROCESSORS } from './counting.ts';
import { SLAB, slabFits, slabGrid, slabsOf, type GroupNormAttrs } from './groupNorm.ts';
import type { MatrixParts } from './matrices.ts';

type Ways = Parameters<Lowering['choose']>;

/** The sum of what `conv2dMatrixSplit` computed in parts, and the norm behind it. */
export const conv2dJoinNormKernel = defineKernel({
  shader,
  // Parts are given by the shape; these stand for all when every variant is compiled.
  tunables: { ...CONV_OUT, ...SLAB, PARTS: [2, 3, 12] },
  grid: slabGrid,
  valid: slabFits,
});

/** Both as they were recorded; their inputs are looked up in the node that they have become. */
export interface ConvJoinNormAttrs {
  conv: Node<Conv2dAttrs>;
  norm: Node<GroupNormAttrs>;
}

/** Inputs: those of the convolution, and perhaps gamma and beta of the norm. */
export const convJoinNormOp: Op<ConvJoinNormAttrs> = {
  name: 'conv2dNorm',
  lower(node, to) {
    const ways = to.caps.software ? undefined : joinNormWays(node, to);
    if (ways) {
      to.choose(...ways);
      return;
    }
    for (const one of apart(node)) to.lower(one as Node);
  },
  readPart(node, name, from, at) {
    const [conv] = apart(node);
    const read = conv2dOp.readPart!(conv, name, from, at);
    if (!read) return undefined;
    return { ...node, inputs: { ...node.inputs, [name]: read.inputs[name] }, attrs: { ...node.attrs, conv: read } };
  },
};

/** The convolution and the norm as they would be without each other. */
function apart({ inputs: { gamma, beta, ...inputs }, attrs: { conv, norm }, output }: Node<ConvJoinNormAttrs>) {
  return [
    { ...conv, inputs },
    { ...norm, inputs: { ...norm.inputs, gamma, beta }, output },
  ] as const;
}

const [SPLIT, FOLDED] = ['matrix split', 'matrix split folded'];

/**
 * The ways of the convolution, each with the norm behind it, and both passes with the norm in the second; undefined
 * without parts.
 */
function joinNormWays(node: Node<ConvJoinNormAttrs>, to: Lowering): Ways | undefined {
  const [conv, norm] = apart(node);
  const { parts } = matrixChoice(conv, to);
  const slabs = slabsOf(mapOf(conv, norm));
  if (!parts || !slabs) return undefined;
  const [shapes, ways, usual, worth = Object.keys(ways)] = conv2dWays(conv, to);
  const all: Record<string, () => void> = {};
  for (const [name, way] of Object.entries(ways)) {
    all[name] = () => {
      way();
      to.lower(norm as Node);
    };
  }
  all[FOLDED] = () => lowerFolded(node, to, parts, slabs);
  const names = worth.flatMap((name) => (name === SPLIT ? [name, FOLDED] : [name]));
  return [shapes, all, foldingPays(node, to, usual === SPLIT, slabs) ? FOLDED : usual, names];
}

/** The map that is normalised, its groups and their channels. */
function mapOf({ attrs: { B, OH, OW, O } }: Node<Conv2dAttrs>, { attrs: { groups } }: Node<GroupNormAttrs>) {
  return { B, P: OH * OW, G: groups, size: O / groups };
}

type Slabs = NonNullable<ReturnType<typeof slabsOf>>;

/**
 * Whether it is counted to take less time. A workgroup of either norm reads its slab of all pixels for the statistics,
 * and the pixels that it writes once more; the folded one reads all parts of them, in f32, through the caches of its
 * multiprocessor:
 *
 *   folded = parts written + slabs of all parts read + one dispatch
 *   apart  = convolution (whole, or parts written, read and joined by a dispatch) + slabs of halves read + one dispatch
 */
function foldingPays(node: Node<ConvJoinNormAttrs>, to: Lowering, split: boolean, { slab, rows }: Slabs): boolean {
  const [conv, norm] = apart(node);
  const { whole, parts } = matrixChoice(conv, to);
  const { B, P, G, size } = mapOf(conv, norm);
  const rounds = ceilDiv(B * ceilDiv(G, slab) * ceilDiv(P, rows), MULTIPROCESSORS);
  const slabSeconds = (bytes: number) => (rounds * (P + rows) * slab * size * bytes * MULTIPROCESSORS) / CACHES;
  const folded = parts!.first + slabSeconds(4 * parts!.parts) + DISPATCH;
  const inFront = split ? parts!.first + parts!.join : (whole?.seconds ?? Infinity);
  return folded < inFront + slabSeconds(2) + DISPATCH;
}

function lowerFolded(node: Node<ConvJoinNormAttrs>, to: Lowering, parts: MatrixParts, slabs: Slabs): void {
  const [conv, norm] = apart(node);
  const sums = lowerSums(conv, to, parts);
  const { bias, shift, residual, gamma, beta } = node.inputs;
  const { B, OH, OW, O } = conv.attrs;
  const { P, G, size } = mapOf(conv, norm);
  const { act, eps, scale: factor = 1 } = norm.attrs;
  const O4 = ceilDiv(O, 4);
  const { tunables, params } = convOut(conv);
  to.dispatch({
    kernel: conv2dJoinNormKernel,
    tunables: {
      ...tunables,
      NORM_ACT: activationCode(act),
      HAS_GAMMA: gamma !== undefined,
      HAS_BETA: beta !== undefined,
      PARTS: parts.parts,
    },
    params: {
      ...{ B, OH, OW, O4, ...params },
      ...{ P, C: O, C4: O4, G, size, ...slabs, eps, factor },
    },
    bindings: { sums, bias, shift, residual, gamma, beta, out: node.output },
    flops: 8 * B * P * O,
  });
}
