/**
 * conv2dTranspose: the adjoint of a convolution, as a layer that enlarges (`nn.ConvTranspose2d`) and as the gradient of
 * a convolution by its input. One weight serves both: [I,O,R,S] of the one is [O,I,R,S] of the other.
 */
import {
  defineKernel,
  formatShape,
  InvalidArgumentError,
  linearGrid,
  numel,
  ShapeError,
  type Op,
  type Packing,
  type Tensor,
  type Weight,
} from '../engine/index.ts';
import { ACTIVATIONS, activationCode, ceilDiv, expectRank, type Activation } from './common.ts';
import { conv2dOp, type Padding } from './conv2d.ts';
import shader from './conv2dTranspose.wgsl';
import { packVector } from './packing.ts';

/** Gathers: PIXELS output pixels that the same taps reach × one vec4 of channels per invocation. */
export const conv2dTransposeKernel = defineKernel({
  shader,
  tunables: {
    PIXELS: [4, 1, 2, 8],
    WG_O: [8, 1, 2, 4, 16, 32],
    WG_P: [8, 2, 4, 16, 32, 64],
    ACT: Object.values(ACTIVATIONS),
    HAS_BIAS: [true, false],
  },
  grid({ B, OH, OW, O4, stride }, t) {
    const runs = stride * ceilDiv(ceilDiv(OW, stride), t.PIXELS);
    const [y, z] = linearGrid(ceilDiv(B * OH * runs, t.WG_P));
    return [ceilDiv(O4, t.WG_O), y, z];
  },
  valid: (t, { limits }) => t.WG_O * t.WG_P <= limits.maxComputeInvocationsPerWorkgroup,
});

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/**
 * [I, O, R, S] → [R, S, I/4, O/4, 4 (i), 4 (o)], as `packConv` packs [O, I, R, S]; `flipped` turns the kernel by 180°.
 * A block is four i of all o at one tap.
 */
export function packConvTranspose(flipped: boolean): Packing {
  return {
    id: flipped ? 'conv-transpose-flipped' : 'conv-transpose',
    shape: ([I, O, R, S]) => [R * S * up4(I), up4(O)],
    blocks: ([I, , R, S]) => (R * S * up4(I)) / 4,
    pack(data, [I, O, R, S], first, last, out) {
      const i4s = up4(I) / 4;
      const taps = R * S;
      const size = 4 * up4(O);
      for (let block = first; block < last; block++) {
        const place = Math.floor(block / i4s);
        const tap = flipped ? taps - 1 - place : place;
        const i0 = 4 * (block % i4s);
        for (let i = i0; i < Math.min(i0 + 4, I); i++) {
          const at = (block - first) * size + 4 * (i - i0);
          for (let o = 0; o < O; o++) out[at + (o >> 2) * 16 + (o & 3)] = data[(i * O + o) * taps + tap];
        }
      }
    },
  };
}

interface TransposeAttrs {
  stride: number;
  dilation: number;
  top: number;
  left: number;
  R: number;
  S: number;
  act: Activation;
  scale: number;
}

const conv2dTransposeOp: Op<TransposeAttrs> = {
  name: 'conv2dTranspose',
  lower({ inputs: { x, weight, bias }, attrs, output }, to) {
    const [B, H, W, I] = x!.shape;
    const [, OH, OW, O] = output.shape;
    const { act, ...rest } = attrs;
    const { R, S, stride } = attrs;
    const O4 = ceilDiv(O, 4);
    const WG_O = O4 >= 8 ? 8 : O4 >= 3 ? 4 : O4;
    to.dispatch({
      kernel: conv2dTransposeKernel,
      tunables: { WG_O, WG_P: 64 / WG_O, ACT: activationCode(act), HAS_BIAS: bias !== undefined },
      params: { B, H, W, I4: ceilDiv(I, 4), OH, OW, O4, O, ...rest },
      bindings: { input: x, w: weight, bias, out: output },
      flops: (2 * B * OH * OW * O * I * R * S) / stride ** 2,
    });
  },
};

/** What `nn.ConvTranspose2d` may be told; sizes in output pixels. */
export interface Conv2dTransposeOptions {
  /** From one input pixel to the next, ≥ 1; default 1. */
  stride?: number;
  /** Cropped from every side, or by side; default 0. */
  padding?: number | Padding;
  /** Added at the bottom and on the right, ≥ 0; default 0. */
  outputPadding?: number | { bottom: number; right: number };
  /** From one tap to the next, ≥ 1; default 1. */
  dilation?: number;
  act?: Activation;
  /** Applied last; default 1. */
  scale?: number;
}

/**
 * x [B,H,W,I] → [B,H',W',O]: act(transposed convolution + bias)·scale, H' = (H − 1)·stride − top − bottom +
 * dilation·(R − 1) + outputPadding + 1.
 * @param weight [I,O,R,S] as the checkpoint has it.
 * @throws ShapeError when channels or bias do not fit, or nothing is left of the map.
 * @throws InvalidArgumentError for a stride or dilation that is no positive integer, or a negative padding.
 */
export function conv2dTranspose(
  x: Tensor,
  weight: Weight,
  bias?: Weight,
  options: Conv2dTransposeOptions = {},
): Tensor {
  const { stride = 1, padding = 0, outputPadding = 0, dilation = 1 } = options;
  const { top, left, bottom, right } =
    typeof padding === 'number' ? { top: padding, left: padding, bottom: padding, right: padding } : padding;
  const more = typeof outputPadding === 'number' ? { bottom: outputPadding, right: outputPadding } : outputPadding;
  const natural = [top, left, bottom, right, more.bottom, more.right].every((p) => Number.isInteger(p) && p >= 0);
  const [, H = 0, W = 0] = x.shape;
  const [, , R = 0, S = 0] = weight.shape;
  if (!natural || ![stride, dilation].every((n) => Number.isInteger(n) && n >= 1)) {
    throw new InvalidArgumentError(
      `conv2dTranspose: expected stride and dilation of 1 or more and paddings of 0 or more, got ${stride}, ` +
        `${dilation} and ${[top, left, bottom, right, more.bottom, more.right].join(', ')}`,
    );
  }
  const height = (H - 1) * stride - top - bottom + dilation * (R - 1) + more.bottom + 1;
  const width = (W - 1) * stride - left - right + dilation * (S - 1) + more.right + 1;
  return record(x, weight, bias, { stride, dilation, top, left, height, width, ...options });
}

/** How the convolution was made whose gradient is wanted: as {@link conv2d} was told, and the map that it read. */
export interface ConvInputGradOptions {
  height: number;
  width: number;
  stride?: number;
  padding?: number | Padding;
}

/**
 * Gradient of conv2d by its input: g [B,H',W',O] → [B,height,width,I].
 * @param weight [O,I,R,S], the convolution's own.
 * @throws ShapeError, InvalidArgumentError as {@link conv2dTranspose}
 */
export function convInputGrad(g: Tensor, weight: Weight, options: ConvInputGradOptions): Tensor {
  const { padding = 0, stride = 1, height, width } = options;
  const { top, left } = typeof padding === 'number' ? { top: padding, left: padding } : padding;
  return record(g, weight, undefined, { stride, dilation: 1, top, left, height, width });
}

function record(
  x: Tensor,
  weight: Weight,
  bias: Weight | undefined,
  o: {
    stride: number;
    dilation: number;
    top: number;
    left: number;
    height: number;
    width: number;
    act?: Activation;
    scale?: number;
  },
): Tensor {
  expectRank('conv2dTranspose', 'x', x, 4, '[B,H,W,C]');
  const [B, H, W, C] = x.shape;
  const [I, O, R, S] = weight.shape;
  if (weight.shape.length !== 4 || I !== C) {
    throw new ShapeError(
      `conv2dTranspose: expected weight [${C},O,R,S] for x ${formatShape(x.shape)}, ` +
        `got ${weight.key} ${formatShape(weight.shape)}`,
    );
  }
  if (bias && (numel(bias.shape) !== O || bias.shape.length !== 1)) {
    throw new ShapeError(`conv2dTranspose: expected bias [${O}], got ${bias.key} ${formatShape(bias.shape)}`);
  }
  const { stride, dilation, top, left, height, width, act = 'none', scale = 1 } = o;
  if (height < 1 || width < 1) {
    throw new ShapeError(
      `conv2dTranspose: expected something to be left, got ${height}×${width} of x ${formatShape(x.shape)}`,
    );
  }
  activationCode(act);
  const g = x.graph;
  const shape = [B, height, width, O];
  const inputs = (flipped: boolean) => ({
    x,
    weight: g.constant(weight, packConvTranspose(flipped), g.dtype),
    bias: bias && g.constant(bias, packVector, 'f32'),
  });
  // Without gaps it is a convolution with the kernel turned round, and the fast kernels serve.
  const [above, before] = [dilation * (R - 1) - top, dilation * (S - 1) - left];
  if (stride === 1 && above >= 0 && before >= 0) {
    const sizes = { B, H, W, I: C, OH: height, OW: width, O, R, S, stride, dilation };
    return g.record(conv2dOp, inputs(true), { ...sizes, top: above, left: before, act, scale }, shape);
  }
  return g.record(conv2dTransposeOp, inputs(false), { stride, dilation, top, left, R, S, act, scale }, shape);
}
