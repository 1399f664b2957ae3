/** Convolutions of a normalised map: the norm by itself, or computed where the convolution loads its pixels. */
import type { Lowering, Node } from '../engine/index.ts';
import type { Conv2dAttrs } from './conv2d.ts';
import { groupNormOp } from './groupNorm.ts';

type Ways = Parameters<Lowering['choose']>;

/** How often at most a pixel is loaded where its norm is computed anew with each load. */
const MOST_LOADS = 3;

/** Ways that can normalise what they load, of two tensors only the first. */
const FOLDING = /^(winograd|plain|tile)/;

/**
 * The ways of a convolution behind a norm: every way of a convolution without one, with the norm's own dispatch in
 * front; and again, as `folded`, those that can normalise what they load. The usual way is a folded one where minimal
 * filtering loads each pixel seldom enough; other kernels load it once for every tap and tile of output channels.
 * @param waysOf the ways of a convolution that normalises what it loads, where it has a norm.
 */
export function normWays(
  node: Node<Conv2dAttrs>,
  to: Lowering,
  waysOf: (node: Node<Conv2dAttrs>, to: Lowering) => Ways,
): Ways {
  const { inputs, attrs } = node;
  const { norm, B, H, W, I } = attrs;
  const { x, second, gamma, beta, ...others } = inputs;
  const normal = to.scratch([B, H, W, I], x!.dtype);
  const apart = { ...node, inputs: { ...others, x: normal }, attrs: { ...attrs, norm: undefined } };
  const [shapes, ways, usual, worth = Object.keys(ways)] = waysOf(apart, to);
  const [, folding] = waysOf(node, to);
  const all: Record<string, () => void> = {};
  for (const [name, way] of Object.entries(ways)) {
    all[name] = () => {
      groupNormOp.lower(
        { ...node, op: groupNormOp, inputs: { x, second, gamma, beta }, attrs: norm!, output: normal },
        to,
      );
      way();
    };
    if (FOLDING.test(name) && (!second || name.startsWith('winograd'))) all[`${name} folded`] = folding[name];
  }
  const folded = (name: string) => `${name} folded`;
  const seldom = loadsPerPixel(attrs, usual) <= MOST_LOADS && folded(usual) in all;
  const names = worth.flatMap((name) => (folded(name) in all ? [name, folded(name)] : [name]));
  return [`${shapes} norm`, all, seldom ? folded(usual) : usual, names];
}

/** How often a way loads a pixel of its input. */
function loadsPerPixel({ up = 1 }: Conv2dAttrs, way: string): number {
  const tile = /^winograd([24]) /.exec(way)?.[1];
  return tile ? (up * (1 + 2 / Number(tile))) ** 2 : Infinity;
}
