/**
 * VQ-VAE-2: codes on two levels, the coarse one read back to help the fine one. Weight names are those of
 * rosinality/vq-vae-2-pytorch.
 *
 * Razavi, van den Oord, Vinyals 2019, "Generating Diverse High-Fidelity Images with VQ-VAE-2",
 * https://arxiv.org/abs/1906.00446
 */
import { formatShape, ShapeError, type Graph, type Tensor } from '../../engine/index.ts';
import { concat, fromNchw, toNchw } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import { conv } from '../layers.ts';
import type { ModelDefinition } from '../loadedModel.ts';
import type { WeightScope } from '../weightScope.ts';
import { readVqVaeFields, type VqVaeConfig } from './vqVae.ts';
import { doubled, lookUp, quantize, quantizeCodebook, vqDecoder, vqEncoder } from './vqVaeBlocks.ts';

/** One of the ways through; pixels, multiples of 8. */
export interface VqVae2Call {
  part: 'encode' | 'reconstruct' | 'decode' | 'decodeCode';
  batch: number;
  height: number;
  width: number;
}

/** Both levels: the bottom one [B,H/4,W/4,D], the top one [B,H/8,W/8,D]. */
export interface Levels {
  bottom: Tensor;
  top: Tensor;
}

const codebookOf = (c: VqVaeConfig, w: WeightScope, level: 't' | 'b') =>
  quantizeCodebook(w.at(`quantize_${level}`), c.embedDim, c.nEmbed);

/** x [B,H,W,C] → what is quantised, its ids and entries, on both levels. Figure 2. */
export function vqVae2Encode(
  c: VqVaeConfig,
  w: WeightScope,
  x: Tensor,
): { before: Levels; ids: Levels; entries: Levels } {
  const fine = vqEncoder(w.at('enc_b'), x, c, 4); // [B,H/4,W/4,channel]
  const coarse = vqEncoder(w.at('enc_t'), fine, c, 2); // [B,H/8,W/8,channel]
  const top = conv(w.at('quantize_conv_t'), coarse, c.embedDim, { kernel: 1 }); // [B,H/8,W/8,D]
  const t = quantize(top, codebookOf(c, w, 't'));
  const help = vqDecoder(w.at('dec_t'), t.entries, c.embedDim, c, 2); // [B,H/4,W/4,D]
  const bottom = conv(w.at('quantize_conv_b'), concat(help, fine), c.embedDim, { kernel: 1 }); // [B,H/4,W/4,D]
  const b = quantize(bottom, codebookOf(c, w, 'b'));
  return {
    before: { bottom, top },
    ids: { bottom: b.ids, top: t.ids },
    entries: { bottom: b.entries, top: t.entries },
  };
}

/** Entries of both levels → [B,H,W,C]. */
export function vqVae2Decode(c: VqVaeConfig, w: WeightScope, { bottom, top }: Levels): Tensor {
  const up = doubled(w.at('upsample_t'), top, c.embedDim); // [B,H/4,W/4,D]
  return vqDecoder(w.at('dec'), concat(up, bottom), c.inChannels, c, 4); // [B,H,W,C]
}

/**
 * `encode`: x [B,C,H,W] → `beforeTop`, `quantTop` [B,D,H/8,W/8], `beforeBottom`, `quantBottom` [B,D,H/4,W/4], `idsTop`,
 * `idsBottom` u32; `reconstruct`: those and `out` [B,C,H,W]; `decode`: top, bottom (entries, as quantTop and
 * quantBottom) → `out`; `decodeCode`: idsTop, idsBottom u32 → `out`.
 */
export const vqVae2: ModelDefinition<VqVaeConfig, VqVae2Call> = {
  className: 'VQVAE2',
  ignorable: [/\.(cluster_size|embed_avg)$/],
  readConfig: (raw: RawConfig) => {
    const cfg = new ConfigReader(raw, 'VQVAE2');
    const config = readVqVaeFields(cfg);
    cfg.done();
    return config;
  },
  probes: () => [{ part: 'reconstruct', batch: 1, height: 8, width: 8 }],
  record(g: Graph, w, c, { part, batch: B, height, width }) {
    if (height % 8 !== 0 || width % 8 !== 0) {
      throw new ShapeError(`VQVAE2: expected sides divisible by 8, got ${formatShape([height, width])}`);
    }
    const [fine, coarse] = [4, 8].map((f) => [B, height / f, width / f] as const);
    const D = c.embedDim;
    if (part === 'decode') {
      const [bottom, top] = [fine, coarse].map(([, h, wide], i) =>
        fromNchw(g.input(i === 0 ? 'bottom' : 'top', [B, D, h, wide])),
      );
      g.output('out', toNchw(vqVae2Decode(c, w, { bottom, top })));
      return;
    }
    if (part === 'decodeCode') {
      const level = (name: string, shape: readonly number[], l: 't' | 'b') => {
        const ids = g.input(name, [shape.reduce((a, b) => a * b)], { dtype: 'u32' });
        return lookUp(ids, codebookOf(c, w, l), [...shape, D]); // [B,h,w,D]
      };
      const levels = { bottom: level('idsBottom', fine, 'b'), top: level('idsTop', coarse, 't') };
      g.output('out', toNchw(vqVae2Decode(c, w, levels)));
      return;
    }
    const { before, ids, entries } = vqVae2Encode(c, w, fromNchw(g.input('x', [B, c.inChannels, height, width])));
    for (const [name, level] of [
      ['Top', 'top'],
      ['Bottom', 'bottom'],
    ] as const) {
      g.output(`before${name}`, toNchw(before[level]));
      g.output(`ids${name}`, ids[level]);
      g.output(`quant${name}`, toNchw(entries[level]));
    }
    if (part === 'reconstruct') g.output('out', toNchw(vqVae2Decode(c, w, entries)));
  },
};
