/** The layers that models are made of: a kernel with its weights under the names that checkpoints give them. */
import type { Tensor } from '../engine/index.ts';
import { groupNorm, wideConv2d, wideLinear, type Activation } from '../kernels/index.ts';
import type { WeightScope } from './weightScope.ts';

export interface ConvOptions {
  /** Side of the kernel. */
  kernel?: number;
  stride?: number;
  /** Pixels from tap to tap; default 1. */
  dilation?: number;
  /** Pixels of zeros; by default a kernel of odd side keeps the size. */
  padding?: number | { top: number; left: number; bottom: number; right: number };
  bias?: boolean;
  act?: Activation;
  /** [B,O], added to every pixel before the activation. */
  shift?: Tensor;
  /** [B,H',W',O], added after the activation. */
  residual?: Tensor;
  /** Factor on the result, residual included. */
  scale?: number;
  /** x, residual and result are this many times what they stand for, and so the bias has to be; default 1. */
  size?: number;
}

/** `nn.Conv2d`: x [B,H,W,C] → [B,H',W',out]. */
export function conv(w: WeightScope, x: Tensor, out: number, options: ConvOptions = {}): Tensor {
  const { kernel = 3, bias = true, size, dilation = 1, padding = (dilation * (kernel - 1)) / 2, ...rest } = options;
  const weight = w.param('weight', [out, x.shape.at(-1)!, kernel, kernel]);
  const b = bias ? { ...w.param('bias', [out]), factor: size } : undefined;
  return x.graph.scope(w.path, () => wideConv2d(x, weight, b, { padding, dilation, ...rest }));
}

/** `nn.Linear`: x [...,D] → [...,out]: (act(x·Wᵀ + b) + residual)·scale; `size` as for {@link conv}. */
export function dense(
  w: WeightScope,
  x: Tensor,
  out: number,
  options: { act?: Activation; residual?: Tensor; scale?: number; bias?: boolean; size?: number } = {},
): Tensor {
  const { bias = true, size, ...rest } = options;
  const weight = w.param('weight', [out, x.shape.at(-1)!]);
  const b = bias ? { ...w.param('bias', [out]), factor: size } : undefined;
  return x.graph.scope(w.path, () => wideLinear(x, weight, b, rest));
}

/** `nn.GroupNorm` with affine, and an activation and a factor behind it: x [B,H,W,C] or [B,T,C] → the same shape. */
export function norm(
  w: WeightScope,
  x: Tensor,
  options: { groups: number; eps: number; act?: Activation; scale?: number },
): Tensor {
  const C = x.shape.at(-1)!;
  const weight = w.param('weight', [C]);
  const bias = w.param('bias', [C]);
  return x.graph.scope(w.path, () => groupNorm(x, weight, bias, options));
}

/** The two linear layers behind every timestep embedding: x [B,D] → [B,out]. `TimestepEmbedding` in diffusers. */
export function embeddingMlp(w: WeightScope, x: Tensor, out: number): Tensor {
  const h = dense(w.at('linear_1'), x, out, { act: 'silu' }); // [B,out]
  return dense(w.at('linear_2'), h, out); // [B,out]
}
