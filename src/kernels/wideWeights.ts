/**
 * Layers whose weight is larger than a binding: their outputs in parts, of as many rows of the weight as fit each, side
 * by side afterwards. Every output is the same sum as in one part.
 */
import { DEFAULT_LIMITS, numel, weightRows, type Graph, type Tensor, type Weight } from '../engine/index.ts';
import { add, unary } from './elementwise.ts';
import { concat } from './concat.ts';
import { conv2d, type Conv2dOptions } from './conv2d.ts';
import { linear } from './matmul.ts';
import { slice } from './slice.ts';

interface WideOptions {
  /** Bytes of one binding; default WebGPU's 128 MiB, so that a graph fits every adapter. */
  maxBytes?: number;
}

/** {@link conv2d} with a weight of any size. @throws as conv2d */
export function wideConv2d(
  x: Tensor,
  weight: Weight,
  bias: Weight | undefined,
  { maxBytes, ...options }: Conv2dOptions & WideOptions = {},
): Tensor {
  const cuts = cutsOf(weight, x.graph, maxBytes);
  if (cuts.length === 1) return conv2d(x, weight, bias, options);
  const { residual, scale, shift, ...rest } = options;
  const parts = cuts.map(([from, to]) =>
    conv2d(x, weightRows(weight, from, to), bias && weightRows(bias, from, to), {
      ...rest,
      shift: shift && slice(shift, from, to),
    }),
  );
  return together(parts, residual, scale);
}

/** {@link linear} with a weight of any size. @throws as linear */
export function wideLinear(
  x: Tensor,
  weight: Weight,
  bias: Weight | undefined,
  { maxBytes, ...options }: NonNullable<Parameters<typeof linear>[3]> & WideOptions = {},
): Tensor {
  const cuts = cutsOf(weight, x.graph, maxBytes);
  if (cuts.length === 1) return linear(x, weight, bias, options);
  const { residual, scale, ...rest } = options;
  const parts = cuts.map(([from, to]) =>
    linear(x, weightRows(weight, from, to), bias && weightRows(bias, from, to), rest),
  );
  return together(parts, residual, scale);
}

/** (parts side by side + residual)·scale. */
function together(parts: readonly Tensor[], residual: Tensor | undefined, scale = 1): Tensor {
  const whole = parts.reduce((a, b) => concat(a, b));
  if (residual) return add(whole, residual, { alpha: scale, beta: scale });
  return scale === 1 ? whole : unary(whole, { alpha: scale });
}

const up4 = (n: number) => 4 * Math.ceil(n / 4);

/** Rows of a weight in equal parts that stay below `maxBytes` each; parts begin at multiples of four. */
function cutsOf(
  { shape: [rows, inner, ...taps] }: Weight,
  { dtype }: Graph,
  maxBytes = DEFAULT_LIMITS.maxStorageBufferBindingSize,
): [number, number][] {
  const rowBytes = up4(inner) * numel(taps) * (dtype === 'f16' ? 2 : 4);
  const count = Math.ceil((up4(rows) * rowBytes) / maxBytes);
  const step = Math.max(4, Math.min(up4(Math.ceil(rows / count)), 4 * Math.floor(maxBytes / rowBytes / 4)));
  return Array.from({ length: Math.ceil(rows / step) }, (_, i) => [i * step, Math.min(rows, (i + 1) * step)]);
}
