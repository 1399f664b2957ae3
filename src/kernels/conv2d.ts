/** conv2d: any kernel size, stride, padding and dilation, as one implicit matrix multiplication with everything after it fused. */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  numel,
  ShapeError,
  type Node,
  type Op,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ACTIVATIONS, activationCode, ceilDiv, expectRank, expectSame, type Activation } from './common.ts';
import shader from './conv2d.wgsl';
import subgroupShader from './conv2dSubgroup.wgsl';
import { linearOp, sharesInSubgroup } from './matmul.ts';
import { packConv, packVector } from './packing.ts';

/** Implicit matrix multiplication; PIXELS pixels of a row × one vec4 of channels per invocation. */
export const conv2dKernel = defineKernel({
  shader,
  tunables: {
    PIXELS: [4, 1, 2, 8],
    WG_O: [8, 1, 2, 4, 16, 32],
    WG_P: [8, 2, 4, 16, 32, 64],
    ACT: Object.values(ACTIVATIONS),
    HAS_BIAS: [true, false],
    HAS_SHIFT: [false, true],
    HAS_RESIDUAL: [false, true],
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
  tunables: {
    SG: [8, 4],
    SUBS: [1, 2, 4],
    WG: [8, 4, 16, 32],
    ACT: Object.values(ACTIVATIONS),
    HAS_BIAS: [true, false],
    HAS_SHIFT: [false, true],
    HAS_RESIDUAL: [false, true],
  },
  grid({ B, OH, OW, O4 }, t) {
    const [y, z] = linearGrid(ceilDiv(B * OH * OW, 8 * t.SUBS));
    return [ceilDiv(O4, t.SG), y, z];
  },
  valid: (t, caps) => t.SG === caps.subgroupSize && t.WG === t.SG * t.SUBS,
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
}

/** Inputs: x [B,H,W,I], weight, and perhaps bias, shift [B,O], residual [B,OH,OW,O]. */
export const conv2dOp: Op<Conv2dAttrs> = {
  name: 'conv2d',
  lower(node, to) {
    const { inputs, attrs: a, output } = node;
    if (isPointwise(a) && !inputs.shift) {
      linearOp.lower(node, to);
      return;
    }
    const { x, weight, bias, shift, residual } = inputs;
    const { B, H, W, OH, OW, O, R, S, stride, dilation, top, left, scale } = a;
    const SG = to.caps.subgroupSize;
    const shared = sharesInSubgroup(to.caps, ceilDiv(O, 4));
    to.dispatch({
      kernel: shared ? conv2dSubgroupKernel : conv2dKernel,
      tunables: {
        ...(shared ? { SG, WG: SG } : conv2dTile(a)),
        ACT: activationCode(a.act),
        HAS_BIAS: bias !== undefined,
        HAS_SHIFT: shift !== undefined,
        HAS_RESIDUAL: residual !== undefined,
      },
      params: { B, H, W, I4: ceilDiv(a.I, 4), OH, OW, O4: ceilDiv(O, 4), O, R, S, stride, dilation, top, left, scale },
      bindings: { input: x, w: weight, bias, shift, residual, out: output },
      flops: 2 * B * OH * OW * O * a.I * R * S,
    });
  },
};

/** A 1×1 convolution at every pixel is a matrix multiplication, and its packed weight is the same bytes. */
function isPointwise({ R, S, stride, H, W, OH, OW }: Conv2dAttrs): boolean {
  return R === 1 && S === 1 && stride === 1 && H === OH && W === OW;
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
 * @throws InvalidArgumentError for a stride or dilation that is no positive integer or a padding that is no natural number.
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
