/** linear: y = act(x Wᵀ + b) + residual, as one register-tiled matmul. */
import {
  defineKernel,
  formatShape,
  linearGrid,
  ShapeError,
  type Kernel,
  type Lowering,
  type Node,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import {
  ACTIVATIONS,
  activationCode,
  asItems,
  ceilDiv,
  expectSame,
  near,
  rowsOf,
  width4,
  type Activation,
} from './common.ts';
import { canShare, eightsOf, SHARED, sharesHere, usualCols, usualEights } from './eights.ts';
import { normOfRows, normReadsPart, normWays, type LinearNorm } from './linearNorm.ts';
import { inTwo, isSum, type PartOfLayer } from './linearInTwo.ts';
import { LINEAR_OUT } from './linearOut.ts';
import shader from './matmul.wgsl';
import joinShader from './matmulJoin.wgsl';
import { matmulMatrixKernel, matmulMatrixNormKernel, matmulMatrixSplitKernel } from './matmulMatrix.ts';
import splitShader from './matmulSplit.wgsl';
import subgroupShader from './matmulSubgroup.wgsl';
import { matmulTileKernel, matmulTileNormKernel } from './matmulTile.ts';
import { matrixExact, matrixParts, matrixTiles, partsPay, usualMatrix } from './matrices.ts';
import { packMatrix, packVector } from './packing.ts';
import { TILES, usualTile } from './tiles.ts';
import { vectorLinearOp, type VectorLinearAttrs } from './vectorLinear.ts';

/** ROWS rows × one vec4 column per invocation, in registers. */
export const matmulKernel = defineKernel({
  shader,
  tunables: {
    ROWS: [8, 1, 2, 4, 16],
    WG_N: [8, 4, 16, 32],
    WG_M: [8, 1, 4, 16],
    ...LINEAR_OUT,
    HAS_SECOND: [false, true],
  },
  grid: ({ M, N4 }, t) => [ceilDiv(N4, t.WG_N), ceilDiv(ceilDiv(M, t.ROWS), t.WG_M), 1],
  valid: (t, { limits }) => t.WG_N * t.WG_M <= limits.maxComputeInvocationsPerWorkgroup,
});

/** The same with rows shared in a subgroup; for adapters that run on a processor. */
export const matmulSubgroupKernel = defineKernel({
  shader: subgroupShader,
  tunables: { ...SHARED, COLS: [1, 2], ...LINEAR_OUT, HAS_SECOND: [false, true] },
  grid({ M, N4 }, t) {
    const [x, y] = linearGrid(ceilDiv(M, 8 * t.EIGHTS));
    return [x, y, ceilDiv(t.GATED ? 2 * N4 : N4, t.SG * t.COLS)];
  },
  valid: sharesHere,
});

/** In two passes where rows and columns are few and sums long: parts of the sums, f32 [parts,M,columns] … */
export const matmulSplitKernel = defineKernel({
  shader: splitShader,
  tunables: { ROWS: [4, 1, 2, 8], WG_N: [8, 16], WG_M: [8, 4], HAS_SECOND: [false, true] },
  grid: ({ M, K4, part4, columns }, t) => [ceilDiv(columns, t.WG_N), ceilDiv(M, t.ROWS * t.WG_M), ceilDiv(K4, part4)],
});

/** … and their sum, with everything behind it. */
export const matmulJoinKernel = defineKernel({
  shader: joinShader,
  tunables: { WG: [64], ...LINEAR_OUT },
  grid: ({ M, N4 }, t) => linearGrid(ceilDiv(M * N4, t.WG)),
});

/** Least rows that are worth sharing in a subgroup. */
const LEAST_ROWS = 4;
/** Most rows for which sums are computed in parts. */
const FEW_ROWS = 64;
/** Least vec4 of a sum that are worth a part. */
const PART4 = 16;
/** Invocations that a product in parts should have. */
const MANY = 8192;

/** What {@link linearOp} is told beside its inputs. */
export interface LinearAttrs {
  act: Activation;
  /** Applied after act, gate and residual. */
  scale: number;
  /** The weight holds values and gates as {@link packGated} packs them: values · act(gates). */
  gated?: boolean;
  /** Channels in front of the gate in its rows, a multiple of four. */
  gateAt?: number;
  /** A layer norm in front of the layer. */
  layerNorm?: LinearNorm;
}

/**
 * Inputs x [...,K], weight, and perhaps bias, residual [...,N], gate [B,W] (multiplied behind act, of the item that a
 * row belongs to), and second [...,L], which stands behind x: the weight then has K + L columns, and K is a multiple of
 * four. With a norm, inputs gamma and beta or m as the norm has them. Also what a 1×1 convolution lowers to.
 */
export const linearOp: Op<LinearAttrs> = {
  name: 'linear',
  lower(node, to) {
    const ways = node.attrs.layerNorm ? normWays(node, to, linearWays) : linearWays(node, to);
    if (ways) to.choose(...ways);
  },
  readPart(node, name, from, at) {
    if (at % 4 !== 0) return undefined;
    if (name === 'x' || name === 'residual') {
      const vector = asVectors(node);
      return vector && (vectorLinearOp.readPart!(vector, name, from, at) as Node | undefined as Node<LinearAttrs>);
    }
    if (name === 'm' && node.attrs.layerNorm) return normReadsPart(node, from, at);
    if (name !== 'gate') return undefined;
    const gateAt = (node.attrs.gateAt ?? 0) + at;
    return { ...node, inputs: { ...node.inputs, gate: asItems(from) }, attrs: { ...node.attrs, gateAt } };
  },
};

/** The ways of a layer; for one behind a norm only those are right that normalise what they bring in. */
function linearWays(node: Node<LinearAttrs>, to: Lowering): Parameters<Lowering['choose']> {
  const {
    inputs: { x, second, weight, bias, residual, gate },
    attrs,
    output,
  } = node;
  const M = rowsOf(x!);
  const A4 = width4(x!);
  const K4 = A4 + (second ? width4(second) : 0);
  const gated = attrs.gated ?? false;
  const { software, subgroupSize: SG } = to.caps;
  const columns = (gated ? 2 : 1) * width4(output);
  const K = x!.shape.at(-1)! + (second?.shape.at(-1) ?? 0);
  const flops = 2 * M * K * (gated ? 2 : 1) * output.shape.at(-1)! + (attrs.layerNorm ? 8 * M * K : 0);
  // Where shaders take long to translate, layers with and without a bias or residual share one: a missing operand is
  // bound as zeros, or not looked at.
  const behind = {
    ACT: activationCode(attrs.act),
    HAS_BIAS: software || bias !== undefined,
    HAS_RESIDUAL: software || residual !== undefined,
    HAS_GATE: gate !== undefined,
  };
  const outer = {
    ...{ M, N4: width4(output), N: output.shape.at(-1)!, scale: attrs.scale },
    ...{ acts: attrs.act === 'none' ? 0 : 1, adds: residual ? 1 : 0 },
    T: gate ? M / gate.shape[0] : M,
    gate4: gate ? width4(gate) : 0,
    gateAt: (attrs.gateAt ?? 0) / 4,
  };
  const HAS_SECOND = second !== undefined;
  const rows = attrs.layerNorm
    ? normOfRows(node, to)
    : { tunables: { HAS_SECOND }, params: { A4 }, bindings: { second } };
  const dispatch = (kernel: Kernel, tile: Record<string, number | boolean>, of: PartOfLayer = {}) => {
    const bindings = { a: x, ...rows.bindings, w: weight, bias, residual, gate, out: output, ...of.bindings };
    to.dispatch({
      kernel,
      tunables: { ...behind, ...tile, ...rows.tunables, ...of.tunables },
      params: { ...outer, K4, ...rows.params, ...of.params },
      bindings,
      inPlace: 'residual',
      either: software && !bindings.residual ? ['IN_PLACE'] : [],
      flops: (flops * (of.params?.K4 ?? K4)) / K4,
    });
  };
  const split = (part4: number, kernel: Kernel, tile: Record<string, number | boolean>) => {
    const parts = ceilDiv(K4, part4);
    const sums = to.scratch([parts, M, 4 * columns], 'f32');
    to.dispatch({
      kernel,
      tunables: { ...tile, HAS_SECOND },
      params: { M, K4, A4, part4, columns },
      bindings: { a: x, second, w: weight, sums },
      flops,
    });
    to.dispatch({
      kernel: matmulJoinKernel,
      tunables: { ...behind, GATED: gated },
      params: { ...outer, parts, columns },
      bindings: { sums, bias, residual, gate, out: output },
      inPlace: 'residual',
    });
  };
  // Half the layers that a timestep goes through have this activation, so the others share their shader. The
  // activation of gates always applies.
  const shareAct: Record<string, number> = software && !gated && attrs.act === 'none' ? { ACT: ACTIVATIONS.silu } : {};
  const ways: Record<string, () => void> = {
    plain: () => dispatch(matmulKernel, { ...matmulTile(M), GATED: gated, ...shareAct }),
  };
  const COLS = usualCols(columns, SG);
  const products = software && isSum(node, to) ? inTwo(node, to) : [{ params: { wAt: 0 } }];
  for (const EIGHTS of eightsOf(to.caps)) {
    const tile = { SG, EIGHTS, COLS, GATED: gated };
    ways[`shared ${EIGHTS}`] = () => {
      for (const part of products) dispatch(matmulSubgroupKernel, tile, part);
    };
  }
  // As many parts as fill a card, each long enough to be worth it; a processor has few cores to fill.
  const wanted = ceilDiv(MANY, ceilDiv(M, 4) * columns);
  if (M <= FEW_ROWS && K4 >= 4 * PART4 && wanted > 1) {
    const ROWS = M <= 8 ? 1 : M <= 16 ? 2 : 4;
    ways.split = () => split(Math.max(PART4, ceilDiv(K4, wanted)), matmulSplitKernel, { ROWS });
  }
  const [tileKernel, matrixKernel] = attrs.layerNorm
    ? [matmulTileNormKernel, matmulMatrixNormKernel]
    : [matmulTileKernel, matmulMatrixKernel];
  // Barriers are dear where a processor plays the GPU, and such kernels take long to compile there.
  for (const [name, tile] of software ? [] : Object.entries(TILES)) {
    const { WG_M, WG_N, ROWS, COLS, K4S } = tile;
    if (gated && COLS !== 2) continue;
    const EXACT = M % (WG_M * ROWS) === 0 && columns % (WG_N * COLS) === 0 && K4 % K4S === 0;
    ways[name] = () => dispatch(tileKernel, { ...tile, EXACT, GATED: gated });
  }
  const halves = to.graph.dtype === 'f16';
  const matrices = halves ? matrixTiles(to.caps) : {};
  for (const [name, tile] of Object.entries(matrices)) {
    const EXACT = matrixExact(tile, M, columns, K4);
    ways[name] = () => dispatch(matrixKernel, { ...tile, EXACT, GATED: gated });
  }
  const inParts = halves ? matrixParts(M, columns, K4, to.caps) : undefined;
  if (inParts) {
    const { tile, part4 } = inParts;
    const EXACT = matrixExact(tile, M, columns, K4);
    ways['matrix split'] = () => split(part4, matmulMatrixSplitKernel, { ...tile, EXACT });
  }
  const shared = canShare(to.caps) && M >= LEAST_ROWS ? `shared ${usualEights(M, SG, 4)}` : 'plain';
  const fitting = usualTile(M, columns);
  const tile = gated && fitting === 'tile 32' ? 'tile 64' : fitting;
  const names = Object.keys(ways);
  const whole = usualMatrix(M, columns, K4, matrices);
  const onCard = inParts && partsPay(inParts, whole) ? 'matrix split' : (whole?.way ?? tile ?? 'plain');
  const usual = software ? shared : onCard;
  const seldom = software ? ['split', ...(usual !== 'plain' ? ['plain'] : [])] : [];
  // Measuring costs time, and matrices leave others behind.
  const few = /^matrix/.test(usual) ? /^(matrix|split|tile 128)/ : /./;
  const worth = names.filter((name) => !seldom.includes(name) && few.test(name));
  return [`${near(M)}x${near(4 * K4)}x${near(4 * columns)}`, ways, usual, worth];
}

/** The same layer as one of few rows, where x is [B,K] and nothing but a residual is added. */
function asVectors({ inputs, attrs, output, label }: Node<LinearAttrs>): Node<VectorLinearAttrs> | undefined {
  const { x, gate, second, weight } = inputs;
  if (
    x!.shape.length !== 2 ||
    gate ||
    second ||
    attrs.layerNorm ||
    attrs.gated ||
    attrs.scale !== 1 ||
    !weight!.constant ||
    weight!.constant.parts
  ) {
    return undefined;
  }
  const [K, N] = [x!.shape[1], output.shape[1]];
  const sizes = { groups: 1, K, N, xAt: 0, xStep: 0, residualAt: 0 };
  return { op: vectorLinearOp, inputs, attrs: { ...sizes, act: attrs.act, post: 'none' }, output, label };
}

/** Rows per invocation and workgroup shape by the number of rows: few rows want more columns. */
function matmulTile(M: number): { ROWS: number; WG_N: number; WG_M: number } {
  if (M <= 2) return { ROWS: M <= 1 ? 1 : 2, WG_N: 32, WG_M: 1 };
  if (M <= 16) return { ROWS: 4, WG_N: 16, WG_M: 4 };
  return { ROWS: 8, WG_N: 8, WG_M: 8 };
}

/**
 * x [..., K] → [..., N]: act(x·Wᵀ + b), then + residual [..., N].
 * @param weight [N, K], or [N, K, 1, 1] as 1×1 convolutions have it.
 * @throws ShapeError when K, N or the residual do not fit.
 */
export function linear(
  x: Tensor,
  weight: Weight,
  bias?: Weight,
  options: { act?: Activation; residual?: Tensor; scale?: number } = {},
): Tensor {
  const K = x.shape.at(-1)!;
  const [N, inner, ...taps] = weight.shape;
  if (inner !== K || taps.some((d) => d !== 1) || x.layout !== 'rows') {
    throw new ShapeError(
      `linear: x has K=${K} but weight expects K=${inner} (x ${formatShape(x.shape)} ${x.layout}, ` +
        `${weight.key} ${formatShape(weight.shape)})`,
    );
  }
  if (bias && (bias.shape.length !== 1 || bias.shape[0] !== N)) {
    throw new ShapeError(`linear: expected bias [${N}], got ${bias.key} ${formatShape(bias.shape)}`);
  }
  const shape = [...x.shape.slice(0, -1), N];
  if (options.residual) expectSame('linear', 'residual', options.residual, shape);
  const g = x.graph;
  return g.record(
    linearOp,
    {
      x,
      weight: g.constant(weight, packMatrix, g.dtype),
      bias: bias && g.constant(bias, packVector, 'f32'),
      residual: options.residual,
    },
    { act: options.act ?? 'none', scale: options.scale ?? 1 },
    shape,
  );
}
