/**
 * conv2d: any kernel size, stride, padding and dilation, as one implicit matrix multiplication with everything after it
 * fused.
 */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  numel,
  ShapeError,
  type Kernel,
  type Lowering,
  type Node,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { activationCode, ceilDiv, expectRank, expectSame, near, type Activation } from './common.ts';
import shader from './conv2d.wgsl';
import { matrixWays } from './conv2dMatrix.ts';
import subgroupShader from './conv2dSubgroup.wgsl';
import tileShader from './conv2dTile.wgsl';
import { CONV_NORM, CONV_OUT, convFlops, convGeometry, convNorm, convOut } from './convOut.ts';
import { normWays } from './convNorm.ts';
import { canShare, SHARED, sharesHere } from './eights.ts';
import { groupNormAffine, type GroupNormAttrs } from './groupNorm.ts';
import { linearOp } from './matmul.ts';
import { packConv, packConvStrips, packVector, STRIP } from './packing.ts';
import { TILE, tileFits, TILES, usualTile } from './tiles.ts';
import { lowerWinograd, winogradTiles } from './winograd.ts';

/** Implicit matrix multiplication; PIXELS pixels of a row × one vec4 of channels per invocation. */
export const conv2dKernel = defineKernel({
  shader,
  tunables: {
    PIXELS: [4, 1, 2, 8],
    WG_O: [8, 1, 2, 4, 16, 32],
    WG_P: [8, 2, 4, 16, 32, 64],
    ...CONV_OUT,
    ...CONV_NORM,
    UP: [1, 2],
  },
  grid({ B, OH, OW, O4 }, t) {
    const [y, z] = linearGrid(ceilDiv(B * OH * ceilDiv(OW, t.PIXELS), t.WG_P));
    return [ceilDiv(O4, t.WG_O), y, z];
  },
  valid: (t, { limits }) => t.WG_O * t.WG_P <= limits.maxComputeInvocationsPerWorkgroup,
});

/** The same with pixels shared in a subgroup; for adapters that run on a processor. */
export const conv2dSubgroupKernel = defineKernel({
  shader: subgroupShader,
  tunables: { ...SHARED, ACT: CONV_OUT.ACT },
  grid({ B, OH, OW, O4 }, t) {
    const [x, y] = linearGrid(ceilDiv(B * OH * OW, 8 * t.EIGHTS));
    return [x, y, ceilDiv(O4, t.SG)];
  },
  valid: sharesHere,
});

/** The same through workgroup memory; for GPUs. */
export const conv2dTileKernel = defineKernel({
  shader: tileShader,
  tunables: { ...TILE, ...CONV_OUT, ...CONV_NORM, UP: [1, 2] },
  grid({ B, OH, OW, O4 }, t) {
    const [y, z] = linearGrid(ceilDiv(B * OH * OW, t.WG_M * t.ROWS));
    return [ceilDiv(O4, t.WG_N * t.COLS), y, z];
  },
  valid: tileFits,
});

/** Pixels of zeros on each side, ≥ 0. */
export interface Padding {
  top: number;
  left: number;
  bottom: number;
  right: number;
}

/** What {@link conv2dOp} is told beside its inputs; sizes in pixels and channels. */
export interface Conv2dAttrs {
  /** Batch and map sizes; the output tensor may show the same bytes under another shape. */
  B: number;
  H: number;
  W: number;
  I: number;
  OH: number;
  OW: number;
  O: number;
  R: number;
  S: number;
  stride: number;
  dilation: number;
  top: number;
  left: number;
  act: Activation;
  /** Applied after act and residual. */
  scale: number;
  /** 2: every pixel of x counts as two by two; H and W are those of x. */
  up?: 1 | 2;
  /** Channels in front of the shift in its rows, a multiple of four. */
  shiftAt?: number;
  /** x, with what stands behind it, is normalised first. */
  norm?: GroupNormAttrs;
  /** A norm reads the result: ways that can leave its statistics do. */
  stats?: boolean;
}

/**
 * Inputs: x [B,H,W,I], weight, and perhaps bias, shift [B,W] of which O channels are read, residual [B,OH,OW,O], and,
 * for a kernel of one pixel or behind a norm, second [B,H,W,J], whose channels stand behind those of x; gamma and beta
 * of the norm.
 */
export const conv2dOp: Op<Conv2dAttrs> = {
  name: 'conv2d',
  lower(node, to) {
    if (isPointwise(node.attrs) && !node.inputs.shift) {
      linearOp.lower(node, to);
      return;
    }
    to.choose(...(node.attrs.norm ? normWays(node, to, conv2dWays) : conv2dWays(node, to)));
  },
  readPart(node, name, from, at) {
    // What stands behind the shift in its last vec4 would become padding of the result.
    if (name !== 'shift' || at % 4 !== 0 || node.attrs.O % 4 !== 0) return undefined;
    const shiftAt = (node.attrs.shiftAt ?? 0) + at;
    return { ...node, inputs: { ...node.inputs, shift: from }, attrs: { ...node.attrs, shiftAt } };
  },
};

/**
 * One dispatch: the sum over taps and channels as it stands, by one of the kernels above. Those for GPUs can normalise
 * what they load.
 */
function lowerDirect(node: Node<Conv2dAttrs>, to: Lowering, kernel: Kernel, tile: Record<string, number>): void {
  const { inputs, attrs, output } = node;
  const { x, beta, weight, bias, shift, residual } = inputs;
  const { up = 1, norm } = attrs;
  const { tunables, params } = convOut(node);
  const before = convNorm(attrs);
  const oneForAll = kernel === conv2dSubgroupKernel;
  const affine = norm && groupNormAffine(inputs, norm, to);
  // A weight laid out otherwise, such as a gradient's, stays as it is: one strip.
  const inStrips = oneForAll && weight!.constant?.packing.id === packConv.id;
  const strip = inStrips ? STRIP : ceilDiv(attrs.O, 4);
  to.dispatch({
    kernel,
    tunables: { ...tile, ...(oneForAll ? { ACT: tunables.ACT } : { ...tunables, ...before.tunables, UP: up }) },
    params: { ...convGeometry(attrs), ...params, ...(oneForAll ? { doubled: up - 1, strip } : before.params) },
    bindings: {
      ...{ input: x, w: inStrips ? to.packed(weight!, packConvStrips) : weight, bias, shift, residual },
      ...(!oneForAll && { affine, beta }),
      out: output,
    },
    flops: convFlops(attrs),
  });
}

/** The ways to compute a convolution, for {@link Lowering.choose}. */
export function conv2dWays(node: Node<Conv2dAttrs>, to: Lowering): Parameters<Lowering['choose']> {
  const a = node.attrs;
  const { software, subgroupSize: SG } = to.caps;
  const shared = canShare(to.caps);
  const ways: Record<string, () => void> = { plain: () => lowerDirect(node, to, conv2dKernel, conv2dTile(a)) };
  for (const EIGHTS of shared ? [1, 2, 3] : []) {
    ways[`shared ${EIGHTS}`] = () => lowerDirect(node, to, conv2dSubgroupKernel, { SG, EIGHTS });
  }
  // Barriers are dear where a processor plays the GPU, and such kernels take long to compile there.
  for (const [name, tile] of software ? [] : Object.entries(TILES)) {
    ways[name] = () => lowerDirect(node, to, conv2dTileKernel, tile);
  }
  const matrices = matrixWays(node, to);
  Object.assign(ways, matrices.ways);
  // A weight laid out otherwise is another convolution's, such as a gradient's: its taps are not those of the
  // checkpoint.
  if (node.inputs.weight!.constant?.packing.id === packConv.id) {
    for (const tile of winogradTiles(a, to)) {
      for (const eights of shared ? [0, 1, 2, 3] : [0]) {
        ways[`winograd${tile} ${eights}`] = () => lowerWinograd(node, to, tile, eights);
      }
    }
  }
  const names = Object.keys(ways);
  const usual = (!software && matrices.usual) || usualWay(a, to, names, node.output.dtype === 'f16');
  // Measuring takes time, so ways that could hardly win are left out: of those that differ little two remain, where
  // lanes can share only such, and beside matrices only what comes near them.
  const few = shared && software ? / [23]$/ : /^matrix/.test(usual) ? /^(matrix|winograd|tile 128)/ : /./;
  return [classOf(a), ways, usual, names.filter((name) => few.test(name) || name === usual)];
}

/**
 * I·O / (I + O) per lane of a subgroup from which on minimal filtering by tiles of two is faster: the wider a subgroup,
 * the less its shared loads cost. `shared 2` and `winograd2 2` of
 * `npm run bench -- --node --suite candidates --dtype f16 --only 'conv2d/emoji*,conv2d/cifar10*'`.
 */
const FILTERED = 5;

/**
 * What is fastest, by and large, where nothing has been measured. Processors whose lanes share loads take the larger
 * tile as soon as there are enough tiles to share among, on lavapipe (eight lanes) and SwiftShader (four):
 * `npm run bench -- --node --suite candidates --only conv2d`. All of a model's layers take the same number of rows,
 * since each shader takes long to compile there.
 */
function usualWay(
  { B, OH, OW, I, O }: Conv2dAttrs,
  { caps }: Lowering,
  ways: readonly string[],
  halves: boolean,
): string {
  if (!caps.software) return usualTile(B * OH * OW, ceilDiv(O, 4)) ?? 'plain';
  if (!canShare(caps)) return 'plain';
  const tiles = (size: number) => B * ceilDiv(OH, size) * ceilDiv(OW, size);
  const wanted = [];
  // Filtering costs I + O per pixel and saves a share of I·O: the tile of two, the only one for halves, takes more
  // channels to pay.
  if (halves ? I * O >= FILTERED * caps.subgroupSize * (I + O) : I >= 8) {
    if (tiles(4) >= 16) wanted.push('winograd4 2');
    if (tiles(2) >= 16) wanted.push('winograd2 2');
  }
  return wanted.find((way) => ways.includes(way)) ?? (B * OH * OW > 8 ? 'shared 2' : 'shared 1');
}

/** Sizes rounded to powers of two: what is fastest for one is nearly so for its neighbours. */
function classOf({ B, OH, OW, I, O, R, S, stride, dilation, up = 1 }: Conv2dAttrs): string {
  return `${R}x${S}/${stride}/${dilation}/${up} ${near(B)}x${near(OH)}x${near(OW)} ${near(I)}-${near(O)}`;
}

/** A 1×1 convolution at every pixel is a matrix multiplication, and its packed weight is the same bytes. */
export function isPointwise({ R, S, stride, H, W, OH, OW, up = 1 }: Conv2dAttrs): boolean {
  return R === 1 && S === 1 && stride === 1 && H === OH && W === OW && up === 1;
}

/** Pixels per invocation and workgroup shape by the output: narrow maps and few channels must not leave lanes idle. */
function conv2dTile({ OW, O }: Conv2dAttrs): { PIXELS: number; WG_O: number; WG_P: number } {
  const PIXELS = OW >= 3 ? 4 : OW;
  const O4 = ceilDiv(O, 4);
  if (O4 >= 8) return { PIXELS, WG_O: 8, WG_P: 8 };
  if (O4 >= 3) return { PIXELS, WG_O: 4, WG_P: 16 };
  return { PIXELS, WG_O: O4, WG_P: 64 / O4 };
}

/** Stride, padding, and what happens after the convolution. */
export interface Conv2dOptions {
  /** Pixels, ≥ 1; default 1. */
  stride?: number;
  /** Pixels from one tap of the kernel to the next, ≥ 1; default 1. */
  dilation?: number;
  /** Pixels of zeros on every side, or by side. */
  padding?: number | Padding;
  act?: Activation;
  /** [B,O], added to every pixel before the activation. */
  shift?: Tensor;
  /** Of the output's shape, added after the activation. */
  residual?: Tensor;
  /** Applied last; default 1. */
  scale?: number;
}

/**
 * x [B,H,W,I] → [B,H',W',O]: (act(conv + bias + shift) + residual)·scale.
 * @param weight [O,I,R,S] as the checkpoint has it.
 * @throws ShapeError when channels, shift or residual do not fit, or the kernel is larger than the padded map.
 * @throws InvalidArgumentError for a stride or dilation that is no positive integer or a padding that is no natural
 * number.
 */
export function conv2d(x: Tensor, weight: Weight, bias?: Weight, options: Conv2dOptions = {}): Tensor {
  expectRank('conv2d', 'x', x, 4, '[B,H,W,C]');
  const [B, H, W, C] = x.shape;
  if (weight.shape.length !== 4) {
    throw new ShapeError(`conv2d: expected weight [O,I,R,S], got ${weight.key} ${formatShape(weight.shape)}`);
  }
  const [O, I, R, S] = weight.shape;
  if (I !== C) {
    throw new ShapeError(
      `conv2d: x has C=${C} but weight expects I=${I} (x ${formatShape(x.shape)}, ` +
        `${weight.key} ${formatShape(weight.shape)})`,
    );
  }
  if (bias && (numel(bias.shape) !== O || bias.shape.length !== 1)) {
    throw new ShapeError(`conv2d: expected bias [${O}], got ${bias.key} ${formatShape(bias.shape)}`);
  }
  const { stride = 1, dilation = 1, padding = 0, act = 'none', shift, residual, scale = 1 } = options;
  if (![stride, dilation].every((n) => Number.isInteger(n) && n >= 1)) {
    throw new InvalidArgumentError(`conv2d: expected a stride and dilation of 1 or more, got ${stride}, ${dilation}`);
  }
  const { top, left, bottom, right } =
    typeof padding === 'number' ? { top: padding, left: padding, bottom: padding, right: padding } : padding;
  const sides = [top, left, bottom, right];
  if (!sides.every((p) => Number.isInteger(p) && p >= 0)) {
    throw new InvalidArgumentError(`conv2d: expected paddings of 0 or more, got ${sides.join(', ')}`);
  }
  const [height, width] = [dilation * (R - 1) + 1, dilation * (S - 1) + 1];
  const OH = Math.floor((H + top + bottom - height) / stride) + 1;
  const OW = Math.floor((W + left + right - width) / stride) + 1;
  if (OH < 1 || OW < 1) {
    throw new ShapeError(
      `conv2d: expected a map of at least ${height}×${width} after padding ${sides.join(', ')}, got x ${formatShape(x.shape)}`,
    );
  }
  const shape = [B, OH, OW, O];
  if (shift) expectSame('conv2d', 'shift', shift, [B, O]);
  if (residual) expectSame('conv2d', 'residual', residual, shape);
  activationCode(act);
  const g = x.graph;
  const attrs: Conv2dAttrs = { B, H, W, I, OH, OW, O, R, S, stride, dilation, top, left, act, scale };
  const inputs: Node['inputs'] = {
    x,
    weight: g.constant(weight, packConv, g.dtype),
    bias: bias && g.constant(bias, packVector, 'f32'),
    shift,
    residual,
  };
  return g.record(conv2dOp, inputs, attrs, shape);
}
