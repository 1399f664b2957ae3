/**
 * Linear layers of rows behind a layer norm: the norm by itself, or found and applied where the layer brings rows in.
 */
import { byteSize, rootOf, type Lowering, type Node, type Tensor } from '../engine/index.ts';
import { asItems, ceilDiv, rowsOf, width4 } from './common.ts';
import { CACHES, DISPATCH } from './counting.ts';
import type { LinearAttrs } from './matmul.ts';
import { matrixColumns4, matrixTiles } from './matrices.ts';
import { TILES } from './tiles.ts';

type Ways = Parameters<Lowering['choose']>;

/**
 * A norm in front of a linear layer, whose inputs x, and gamma and beta or m, are then the layer's own: what the layer
 * multiplies is what the norm makes of them.
 */
export interface LinearNorm {
  /** `layerNorm` or `adaptiveNorm` as it was recorded; its inputs are looked up in the layer. */
  node: Node;
  /** What the layer read: the norm's result, perhaps under another shape. */
  x: Tensor;
}

/** The norm and the layer as they would be without each other. */
function apart({ inputs, attrs: { layerNorm, ...attrs }, ...layer }: Node<LinearAttrs>): [Node, Node<LinearAttrs>] {
  const { x, gamma, beta, m, ...others } = inputs;
  return [
    { ...layerNorm!.node, inputs: { x, gamma, beta, m } },
    { ...layer, inputs: { ...others, x: layerNorm!.x }, attrs },
  ];
}

/** The layer with its norm reading m out of wider rows, where the norm can. */
export function normReadsPart(node: Node<LinearAttrs>, from: Tensor, at: number): Node<LinearAttrs> | undefined {
  const [norm] = apart(node);
  const found = norm.op.readPart?.(norm, 'm', from, at);
  if (!found) return undefined;
  const { inputs, attrs } = node;
  return {
    ...node,
    inputs: { ...inputs, m: asItems(from) },
    attrs: { ...attrs, layerNorm: { ...attrs.layerNorm!, node: found } },
  };
}

/** What kernels are told that normalise what they bring in (`modules/rowNormals.wgsl`). */
export function normOfRows({ inputs: { x, gamma, beta, m }, attrs }: Node<LinearAttrs>, to: Lowering) {
  const { eps, scale = 0, shift = 0 } = attrs.layerNorm!.node.attrs as { eps: number; scale?: number; shift?: number };
  const K = x!.shape.at(-1)!;
  return {
    tunables: { HAS_AFFINE: gamma !== undefined, HAS_VECTORS: m !== undefined, RAGGED: K % 4 !== 0 },
    params: {
      ...{ K, eps, scaleAt: scale / 4, shiftAt: shift / 4 },
      ...{ itemRows: m ? rowsOf(x!) / m.shape[0] : rowsOf(x!), stride: m ? width4(m) : 0 },
    },
    bindings: { affine: gamma && to.graph.join([gamma, beta ?? 4 * width4(x!)], 'stack'), vectors: m },
  };
}

/**
 * Bytes that a card's caches deliver in the time that one more dispatch costs. Half of it for products by subgroup
 * matrices: they take a fraction of the time, so that what is brought in weighs more. Counted; `fold-layer-norm` in the
 * bench's suite `rewrites` measures it.
 */
const DISPATCH_BYTES = DISPATCH * CACHES;

/** Longer rows, one part behind the other, take longer than a dispatch. */
const LONG4 = 512;

/**
 * A layer may be so many times as wide as its rows, as queries, keys and values are. Wider ones, the first layers of
 * MLPs, read most for the same gain.
 */
const WIDE = 3;

/**
 * Whether it should cost less to find a norm anew in every column of tiles than to dispatch it. By itself it reads the
 * rows twice and writes them, once; folded, each column of tiles reads them once more than it does anyway.
 */
function isWorthFolding({ inputs: { x }, attrs, output }: Node<LinearAttrs>, way: string, { caps }: Lowering): boolean {
  const tile = TILES[way as keyof typeof TILES];
  const edge4 = tile ? tile.WG_N * tile.COLS : matrixColumns4(matrixTiles(caps)[way]);
  const columns4 = (attrs.gated ? 2 : 1) * width4(output);
  const most = tile ? DISPATCH_BYTES : DISPATCH_BYTES / 2;
  if (width4(x!) > LONG4 || columns4 > WIDE * width4(x!)) return false;
  return (ceilDiv(columns4, edge4) - 3) * byteSize(rootOf(x!)) <= most;
}

/** Ways that stage rows, and can normalise them on their way. */
const FOLDING = /^(tile|matrix) \d/;

/**
 * The ways of a layer behind a norm: every way of a layer without one, with the norm's own dispatch in front; and
 * again, as `folded`, those that can normalise the rows they bring in. Undefined on processors, where no way can: norm
 * and layer are then lowered apart, and choose as if they had never been joined.
 * @param waysOf the ways of a layer that normalises the rows it brings in, where it has a norm.
 */
export function normWays(
  node: Node<LinearAttrs>,
  to: Lowering,
  waysOf: (node: Node<LinearAttrs>, to: Lowering) => Ways,
): Ways | undefined {
  const [norm, layer] = apart(node);
  if (to.caps.software) {
    to.lower(norm);
    to.lower(layer as Node);
    return undefined;
  }
  const [shapes, ways, usual, worth = Object.keys(ways)] = waysOf(layer, to);
  const [, folding] = waysOf(node, to);
  const all: Record<string, () => void> = {};
  for (const [name, way] of Object.entries(ways)) {
    all[name] = () => {
      to.lower(norm);
      way();
    };
    if (FOLDING.test(name)) all[`${name} folded`] = folding[name];
  }
  const folded = (name: string) => `${name} folded`;
  const names = worth.flatMap((name) => (folded(name) in all ? [name, folded(name)] : [name]));
  const best = folded(usual) in all && isWorthFolding(node, usual, to) ? folded(usual) : usual;
  return [`${shapes} norm`, all, best, names];
}
