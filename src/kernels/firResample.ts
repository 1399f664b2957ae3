/** Resampling by a separable FIR filter: upfirdn2d as StyleGAN2 and the score-SDE networks use it. */
import { defineKernel, formatShape, InvalidArgumentError, linearGrid, ShapeError } from '../engine/index.ts';
import type { Op, Tensor } from '../engine/index.ts';
import { ceilDiv, expectRank, width4 } from './common.ts';
import shader from './firResample.wgsl';

const MAX_TAPS = 16;

/** upfirdn2d for a separable filter of up to 16 taps, one vec4 per invocation. Karras et al. 2020. */
export const firResampleKernel = defineKernel({
  shader,
  tunables: {
    WG: [64, 128, 256],
    // Given by the call; these stand for all when every variant is compiled.
    UP: [1, 2, 3],
    DOWN: [2, 1, 3],
    TAPS: [4, 1, MAX_TAPS],
  },
  grid: ({ B, height, width, C4 }, t) => linearGrid(ceilDiv(B * height * width * C4, t.WG)),
});

interface FirAttrs {
  up: number;
  down: number;
  /** Zeros in front; what is behind follows from the output's size. */
  pad: number;
  gain: number;
  /** Normalised to sum 1. */
  kernel: readonly number[];
}

/** Input x [B,H,W,C]; result [B,height,width,C]. */
export const firResampleOp: Op<FirAttrs> = {
  name: 'firResample',
  lower({ inputs: { x }, attrs: { up, down, pad, gain, kernel }, output }, to) {
    const [B, H, W] = x!.shape;
    const [, height, width] = output.shape;
    // A convolution runs the filter backwards.
    const taps = [...kernel].reverse().concat(Array<number>(MAX_TAPS - kernel.length).fill(0));
    const [taps0, taps1, taps2, taps3] = [0, 4, 8, 12].map((i) => taps.slice(i, i + 4));
    to.dispatch({
      kernel: firResampleKernel,
      tunables: { UP: up, DOWN: down, TAPS: kernel.length },
      params: { B, H, W, height, width, C4: width4(output), pad, gain, taps0, taps1, taps2, taps3 },
      bindings: { input: x, out: output },
    });
  },
};

/** The filter, and by how much to resample. */
export interface FirOptions {
  /** The filter in one dimension, 1 … 16 taps; normalised, so only the ratios count. Default [1, 3, 3, 1]. */
  kernel?: readonly number[];
  /** Integer ≥ 1, default 2. */
  factor?: number;
  /** Of a constant picture; default 1. */
  gain?: number;
}

function check(where: string, x: Tensor, { kernel = [1, 3, 3, 1], factor = 2, gain = 1 }: FirOptions) {
  expectRank(where, 'x', x, 4, '[B,H,W,C]');
  const sum = kernel.reduce((a, b) => a + b, 0);
  if (kernel.length < 1 || kernel.length > MAX_TAPS || !Number.isFinite(sum) || sum === 0) {
    throw new InvalidArgumentError(`${where}: expected 1 … ${MAX_TAPS} taps with a sum other than 0, got [${kernel}]`);
  }
  if (!Number.isInteger(factor) || factor < 1) {
    throw new InvalidArgumentError(`${where}: expected an integer factor ≥ 1, got ${factor}`);
  }
  return { kernel: kernel.map((t) => t / sum), factor, gain };
}

function record(where: string, x: Tensor, attrs: FirAttrs, padEnd: number): Tensor {
  const [B, H, W, C] = x.shape;
  const size = (n: number) => Math.floor((n * attrs.up + attrs.pad + padEnd - attrs.kernel.length) / attrs.down) + 1;
  if (size(H) < 1 || size(W) < 1) {
    throw new ShapeError(`${where}: ${formatShape(x.shape)} is too small for ${attrs.kernel.length} taps`);
  }
  return x.graph.record(firResampleOp, { x }, attrs, [B, size(H), size(W), C]);
}

/**
 * x [B,H,W,C] → [B,H·factor,W·factor,C]: zeros between the pixels, then the filter times factor². Zero padding as
 * StyleGAN2's `upsample_2d`.
 * @throws ShapeError unless x is [B,H,W,C]; InvalidArgumentError for a filter or factor out of range.
 */
export function firUpsample(x: Tensor, options: FirOptions = {}): Tensor {
  const { kernel, factor, gain } = check('firUpsample', x, options);
  const rest = kernel.length - factor;
  const pad = Math.floor((rest + 1) / 2) + factor - 1;
  const attrs = { up: factor, down: 1, pad, gain: gain * factor * factor, kernel };
  return record('firUpsample', x, attrs, Math.floor(rest / 2));
}

/**
 * x [B,H,W,C] → [B,⌊H/factor⌋,⌊W/factor⌋,C] (sizes that factor divides): the filter, then every factor-th pixel. Zero
 * padding as StyleGAN2's `downsample_2d`.
 * @throws ShapeError unless x is [B,H,W,C]; InvalidArgumentError for a filter or factor out of range.
 */
export function firDownsample(x: Tensor, options: FirOptions = {}): Tensor {
  const { kernel, factor, gain } = check('firDownsample', x, options);
  const rest = kernel.length - factor;
  const attrs = { up: 1, down: factor, pad: Math.floor((rest + 1) / 2), gain, kernel };
  return record('firDownsample', x, attrs, Math.floor(rest / 2));
}

/** How {@link upfirdn2d} resamples. */
export interface UpfirdnOptions {
  /** The filter in one dimension, 1 … 16 taps; normalised, so only the ratios count. */
  kernel: readonly number[];
  /** Integer ≥ 1, default 1. */
  up?: number;
  /** Integer ≥ 1, default 1. */
  down?: number;
  /** Zeros before and behind rows and columns, after the stretching; negative crops. Default none. */
  padding?: readonly [number, number];
  /** Of a constant picture, apart from what the zeros of `up` take; default 1. */
  gain?: number;
}

/**
 * x [B,H,W,C] → [B,H',W',C]: stretched with zeros, padded, filtered, every `down`-th pixel kept. Karras et al. 2020.
 * @throws ShapeError unless x is [B,H,W,C] and large enough; InvalidArgumentError for a filter or factor out of range.
 */
export function upfirdn2d(x: Tensor, options: UpfirdnOptions): Tensor {
  const { up = 1, down = 1, padding = [0, 0] } = options;
  check('upfirdn2d', x, { ...options, factor: up });
  const { kernel, gain } = check('upfirdn2d', x, { ...options, factor: down });
  return record('upfirdn2d', x, { up, down, pad: padding[0], gain, kernel }, padding[1]);
}
