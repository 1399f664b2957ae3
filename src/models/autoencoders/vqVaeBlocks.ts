/** Encoder, decoder and codebook of rosinality/vq-vae-2-pytorch, which VQ-VAE and VQ-VAE-2 share. */
import type { Tensor, Weight } from '../../engine/index.ts';
import { reshape, unary, type Activation } from '../../kernels/index.ts';
import { conv2dTranspose } from '../../kernels/conv2dTranspose.ts';
import { codebookEntries, nearestCode } from '../../kernels/nearestCode.ts';
import { conv } from '../layers.ts';
import type { WeightScope } from '../weightScope.ts';

/** Widths that every part has in common. */
export interface VqVaeWidths {
  channel: number;
  nResBlock: number;
  nResChannel: number;
}

/** relu, 3×3, relu, 1×1, and x again. x [B,H,W,C] → the same shape. */
function resBlock(w: WeightScope, x: Tensor, hidden: number): Tensor {
  const h = conv(w.at('conv', 1), unary(x, { act: 'relu' }), hidden, { act: 'relu' }); // [B,H,W,hidden]
  return conv(w.at('conv', 3), h, x.shape[3], { kernel: 1, residual: x }); // [B,H,W,C]
}

/** The residual blocks from `blocks.first` on, and a ReLU: x [B,H,W,C] → the same shape. */
function resBlocks(w: WeightScope, first: number, x: Tensor, { nResBlock, nResChannel }: VqVaeWidths): Tensor {
  for (let i = 0; i < nResBlock; i++) x = resBlock(w.at('blocks', first + i), x, nResChannel); // [B,H,W,C]
  return unary(x, { act: 'relu' }); // [B,H,W,C]
}

/** Half the width and height for every factor of two in `stride`. x [B,H,W,C] → [B,H/s,W/s,channel]. */
export function vqEncoder(w: WeightScope, x: Tensor, c: VqVaeWidths, stride: 2 | 4): Tensor {
  const halve = { kernel: 4, stride: 2, padding: 1, act: 'relu' } as const;
  x = conv(w.at('blocks', 0), x, Math.floor(c.channel / 2), halve); // [B,H/2,W/2,channel/2]
  if (stride === 4) x = conv(w.at('blocks', 2), x, c.channel, halve); // [B,H/4,W/4,channel]
  const last = stride === 4 ? 4 : 2;
  x = conv(w.at('blocks', last), x, c.channel); // [B,H/s,W/s,channel]
  return resBlocks(w, last + 1, x, c); // [B,H/s,W/s,channel]
}

/** The way back. x [B,h,w,C] → [B,h·s,w·s,out]. */
export function vqDecoder(w: WeightScope, x: Tensor, out: number, c: VqVaeWidths, stride: 2 | 4): Tensor {
  x = conv(w.at('blocks', 0), x, c.channel); // [B,h,w,channel]
  x = resBlocks(w, 1, x, c); // [B,h,w,channel]
  const first = 1 + c.nResBlock + 1;
  if (stride === 2) return doubled(w.at('blocks', first), x, out); // [B,2h,2w,out]
  x = doubled(w.at('blocks', first), x, Math.floor(c.channel / 2), 'relu'); // [B,2h,2w,channel/2]
  return doubled(w.at('blocks', first + 2), x, out); // [B,4h,4w,out]
}

/** `nn.ConvTranspose2d(…, 4, stride=2, padding=1)`. x [B,H,W,C] → [B,2H,2W,out]. */
export function doubled(w: WeightScope, x: Tensor, out: number, act?: Activation): Tensor {
  const weight = w.param('weight', [x.shape[3], out, 4, 4]);
  const bias = w.param('bias', [out]);
  return x.graph.scope(w.path, () => conv2dTranspose(x, weight, bias, { stride: 2, padding: 1, act }));
}

/** A codebook, its entries in rows [K, D] or in columns [D, K]. */
export interface Codebook {
  weight: Weight;
  columns: boolean;
}

/** The codebook of a `Quantize` module, entries in columns. */
export const quantizeCodebook = (w: WeightScope, dim: number, entries: number): Codebook => ({
  weight: w.param('embed', [dim, entries]),
  columns: true,
});

/** x [B,h,w,D] → ids u32 [B,h,w] of the nearest entries, and the entries [B,h,w,D]. Equations 1 and 2. */
export function quantize(x: Tensor, { weight, columns }: Codebook): { ids: Tensor; entries: Tensor } {
  const ids = x.graph.scope('quantize', () => nearestCode(x, weight, { columns })); // [B·h·w]
  return { ids: reshape(ids, x.shape.slice(0, 3)), entries: lookUp(ids, { weight, columns }, x.shape) };
}

/** ids u32 [B·h·w] → entries of shape [B,h,w,D]. */
export function lookUp(ids: Tensor, { weight, columns }: Codebook, shape: readonly number[]): Tensor {
  return reshape(
    ids.graph.scope('quantize', () => codebookEntries(ids, weight, { columns })),
    shape,
  );
}
