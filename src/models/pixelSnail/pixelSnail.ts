/**
 * PixelSNAIL: an autoregressive prior over maps of codes, as VQ-VAE-2 samples its levels from. Weight names are those
 * of rosinality/vq-vae-2-pytorch.
 *
 * Chen, Mishra, Rohaninejad, Abbeel 2018, "PixelSNAIL", https://arxiv.org/abs/1712.09763
 */
import type { Tensor } from '../../engine/index.ts';
import {
  add,
  attention,
  concat,
  conv2d,
  linear,
  mul,
  reshape,
  slice,
  unary,
  upsampleNearest,
} from '../../kernels/index.ts';
import type { Padding } from '../../kernels/conv2d.ts';
import type { WeightScope } from '../weightScope.ts';
import { normedWeight, type KernelForm } from './weightNorm.ts';

export interface PixelSnailConfig {
  /** Height and width of the map. */
  shape: readonly [number, number];
  /** Codes. */
  nClass: number;
  channel: number;
  kernelSize: number;
  nBlock: number;
  nResBlock: number;
  resChannel: number;
  attention: boolean;
  /** Residual blocks over the condition; 0 for a prior without one. */
  nCondResBlock: number;
  condResChannel: number;
  condResKernel: number;
  nOutResBlock: number;
}

/** Added to the scores of what a pixel does not look at. */
export const ATTENDED = -1e30;

/** Heads of every attention. */
const HEADS = 8;

/** What the rows of a map that are not computed any more left behind, in the order in which the layers ask. */
export interface RowsAbove {
  /** x [B,1,W,C] → it, behind the `rows` rows above it, [B,rows+1,W,C]; zeros beyond the map. */
  rows(x: Tensor, rows: number): Tensor;
  /** Tokens of a row [B,W,C] → them, behind those of all rows that a map could have above it, [B,T+W,C]. */
  tokens(x: Tensor): Tensor;
}

/** What the blocks share. */
interface Surroundings {
  /** Position of each pixel [B,H,W,2]. */
  background: Tensor;
  /** Features of the condition [B,H,W,Cc]. */
  condition?: Tensor;
  /** Of one row alone; without it the whole map is computed. Codes then come with the rows above that they need. */
  above?: RowsAbove;
  /** Additive mask of the attention [1,T,T], or [1,W,T+W] of a row: a pixel looks at those before it. */
  mask?: Tensor;
  /** 0 at the first pixel, which has nothing to look at, and 1 elsewhere, [B,T,C/2]. */
  started?: Tensor;
}

/** A weight-normed convolution; the padding keeps the size unless told otherwise. x [B,H,W,I] → [B,H,W,out]. */
function normedConv(
  w: WeightScope,
  x: Tensor,
  out: number,
  kernel: readonly [number, number],
  options: { padding?: Padding; form?: KernelForm; bias?: boolean; residual?: Tensor } = {},
): Tensor {
  const { form = '', bias = true, residual } = options;
  const [down, right] = kernel.map((n) => (n - 1) / 2);
  const { padding = { top: down, left: right, bottom: down, right } } = options;
  const inputs = x.shape[3] - (form === 'down' || form === 'right' ? 1 : 0);
  const weight = normedWeight(w, [out, inputs, ...kernel], form);
  const b = bias ? w.param('bias', [out]) : undefined;
  return x.graph.scope(w.path, () => conv2d(x, weight, b, { padding, residual }));
}

/** Sees the pixels before its own, in raster order. x [B,H,W,I] → [B,H,W,out]. */
function causalConv(w: WeightScope, x: Tensor, out: number, k: number, above: RowsAbove | undefined): Tensor {
  const side = Math.floor(k / 2);
  const padding = { top: above ? 0 : k - 1, left: side, bottom: 0, right: side };
  return normedConv(w.at('conv', 'conv'), above ? above.rows(x, k - 1) : x, out, [k, k], { padding, form: 'causal' });
}

/** x + gate(conv(elu(conv(elu(x)) + aux) + condition)). x [B,H,W,C] → the same shape. Figure 3. */
function gatedResBlock(
  w: WeightScope,
  x: Tensor,
  o: {
    hidden: number;
    kernel: number;
    causal?: { above: RowsAbove | undefined };
    auxiliary?: Tensor;
    condition?: Tensor;
  },
): Tensor {
  const C = x.shape[3];
  const layer = (at: WeightScope, t: Tensor, out: number) =>
    o.causal
      ? causalConv(at, t, out, o.kernel, o.causal.above)
      : normedConv(at.at('conv'), t, out, [o.kernel, o.kernel]);
  const elu = (t: Tensor) => unary(t, { act: 'elu' });
  let h = layer(w.at('conv1'), elu(x), o.hidden); // [B,H,W,hidden]
  if (o.auxiliary) {
    h = normedConv(w.at('aux_conv', 'conv'), elu(o.auxiliary), o.hidden, [1, 1], { residual: h }); // [B,H,W,hidden]
  }
  let both = layer(w.at('conv2'), elu(h), 2 * C); // [B,H,W,2C]
  if (o.condition) {
    const added = { bias: false, residual: both };
    both = normedConv(w.at('condition', 'conv'), o.condition, 2 * C, [1, 1], added); // [B,H,W,2C]
  }
  const gate = unary(slice(both, C, 2 * C), { act: 'sigmoid' }); // [B,H,W,C]
  return add(mul(slice(both, 0, C), gate), x); // [B,H,W,C]
}

/** Attention to the pixels before one's own: query [B,H,W,Q], key [B,H,W,K] → [B,H,W,C]. */
function causalAttention(w: WeightScope, query: Tensor, key: Tensor, C: number, s: Surroundings): Tensor {
  const [B, H, W] = query.shape;
  const project = (name: string, x: Tensor) => {
    const at = w.at(name);
    const rows = reshape(x, [B, H * W, x.shape[3]]); // [B,T,N]
    const weight = normedWeight(at, [C, x.shape[3]]);
    return x.graph.scope(at.path, () => linear(rows, weight, at.param('bias', [C]))); // [B,T,C]
  };
  const before = (t: Tensor) => (s.above ? s.above.tokens(t) : t);
  const [k, v] = [before(project('key', key)), before(project('value', key))]; // [B,T,C] or [B,T+W,C]
  const a = attention(project('query', query), k, v, { heads: HEADS, mask: s.mask }); // [B,T,C]
  return reshape(mul(a, s.started!), [B, H, W, C]); // [B,H,W,C]
}

/** x [B,H,W,C] → the same shape. Figure 2. */
function pixelBlock(c: PixelSnailConfig, w: WeightScope, x: Tensor, s: Surroundings): Tensor {
  const C = x.shape[3];
  let h = x;
  for (let i = 0; i < c.nResBlock; i++) {
    const at = w.at('resblocks', i);
    const options = { hidden: c.resChannel, kernel: c.kernelSize, causal: { above: s.above }, condition: s.condition };
    h = gatedResBlock(at, h, options); // [B,H,W,C]
  }
  if (!c.attention) return normedConv(w.at('out', 'conv'), concat(h, s.background), C, [1, 1]); // [B,H,W,C]
  const one = { hidden: C, kernel: 1 };
  const key = gatedResBlock(w.at('key_resblock'), concat(concat(x, h), s.background), one); // [B,H,W,2C+2]
  const query = gatedResBlock(w.at('query_resblock'), concat(h, s.background), one); // [B,H,W,C+2]
  const auxiliary = causalAttention(w.at('causal_attention'), query, key, Math.floor(C / 2), s); // [B,H,W,C/2]
  return gatedResBlock(w.at('out_resblock'), h, { ...one, auxiliary }); // [B,H,W,C]
}

/** One-hot codes of the condition [B,h,w,n] → features at twice the size, [B,2h,2w,Cc]. */
export function conditionFeatures(c: PixelSnailConfig, w: WeightScope, codes: Tensor): Tensor {
  const at = w.at('cond_resnet', 'blocks');
  const k = c.condResKernel;
  let x = normedConv(at.at(0, 'conv'), codes, c.condResChannel, [k, k]); // [B,h,w,Cc]
  for (let i = 1; i <= c.nCondResBlock; i++) {
    x = gatedResBlock(at.at(i), x, { hidden: c.condResChannel, kernel: k }); // [B,h,w,Cc]
  }
  return upsampleNearest(x, { height: 2 * x.shape[1], width: 2 * x.shape[2] }); // [B,2h,2w,Cc]
}

/** Rows above a row of codes that the first layers see. */
export const rowsSeen = ({ kernelSize }: PixelSnailConfig): number => Math.floor(oddKernel(kernelSize) / 2);

const oddKernel = (kernel: number): number => kernel + ((kernel + 1) % 2);

/** One-hot codes and a channel of ones [B,H,W,n+1] → logits of each code given those before it, [B,H,W,n]. */
export function pixelSnail(c: PixelSnailConfig, w: WeightScope, codes: Tensor, s: Surroundings): Tensor {
  const kernel = oddKernel(c.kernelSize);
  const half = Math.floor(kernel / 2);
  const across = { top: s.above ? 0 : half, left: half, bottom: 0, right: half };
  const rowsAbove = normedConv(w.at('horizontal', 'conv', 'conv'), codes, c.channel, [half, kernel], {
    padding: across,
    form: 'down',
    bias: false,
  }); // [B,H,W,C], of the rows above
  const tall = Math.floor((kernel + 1) / 2);
  let x = normedConv(w.at('vertical', 'conv', 'conv'), codes, c.channel, [tall, half], {
    padding: { top: s.above ? 0 : tall - 1, left: half, bottom: 0, right: 0 },
    form: 'right',
    bias: false,
    residual: rowsAbove,
  }); // [B,H,W,C], of the pixels on the left too
  for (let i = 0; i < c.nBlock; i++) x = pixelBlock(c, w.at('blocks', i), x, s); // [B,H,W,C]
  for (let i = 0; i < c.nOutResBlock; i++) {
    x = gatedResBlock(w.at('out', i), x, { hidden: c.resChannel, kernel: 1 }); // [B,H,W,C]
  }
  const last = w.at('out', c.nOutResBlock + 1, 'conv');
  return normedConv(last, unary(x, { act: 'elu' }), c.nClass, [1, 1]); // [B,H,W,n]
}
