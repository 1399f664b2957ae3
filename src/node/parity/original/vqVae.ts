/** Parity of VQ-VAE in both layouts and of VQ-VAE-2. */
import type { RawConfig } from '../../../loading/index.ts';
import { antixkVqVae, vqVae } from '../../../models/autoencoders/vqVae.ts';
import { vqVae2 } from '../../../models/autoencoders/vqVae2.ts';
import type { ModelOutput } from '../../../models/modelRuntime.ts';
import { readAll, withModel } from './autoencoders.ts';
import { OriginalCase, type CaseResult } from './recorded.ts';
import type { NetworkCase } from './weights.ts';

const f32 = (data: ArrayLike<number>) => Float32Array.from(data);

/** Ids are u32, which a read gives as the bits of f32. */
async function idsOf(out: ModelOutput): Promise<Uint32Array> {
  const values = await out.read();
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** [B,D,…] → rows of D. */
function rowsOf(data: ArrayLike<number>, [B, D]: readonly number[]): number[][] {
  const P = data.length / (B * D);
  return Array.from({ length: B * P }, (_, r) => {
    const [b, p] = [Math.floor(r / P), r % P];
    return Array.from({ length: D }, (__, d) => data[(b * D + d) * P + p]);
  });
}

/** The smallest gap between the nearest entry and the next, in squared distance; codebook [D,K]. */
function marginOf(rows: readonly number[][], codebook: Float32Array): number {
  const D = rows[0].length;
  const K = codebook.length / D;
  const gap = (row: readonly number[]) => {
    const all = Array.from({ length: K }, (_, k) => row.reduce((s, v, d) => s + (v - codebook[d * K + k]) ** 2, 0));
    const [first, second] = all.sort((a, b) => a - b);
    return second - first;
  };
  return Math.min(...rows.map(gap));
}

const meanSquare = (a: ArrayLike<number>, b: ArrayLike<number>) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum / a.length;
};

/**
 * `Encoder(stride 4) -> 1x1 conv -> Quantize -> Decoder`; `a` = channel, blocks, their channels, dimension, entries.
 */
export async function runVqVae(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ a: readonly number[] }>(c.dir);
  const [channel, n_res_block, n_res_channel, embed_dim, n_embed] = recording.config.a;
  const x = recording.tensor('in.x');
  const [batch, in_channel, height, width] = x.shape;
  const raw = { in_channel, channel, n_res_block, n_res_channel, embed_dim, n_embed };
  const definition = { ...vqVae, hostWeights: () => ['quantize.embed'] };
  await withModel(c, definition, raw, async (model) => {
    const out = await model.runAll({ part: 'reconstruct', batch, height, width }, { x: f32(x.data) });
    const { preQuant, quant, out: recon } = await readAll(out);
    recording.same('indices', await idsOf(out.ids));
    const rows = rowsOf(preQuant, [batch, embed_dim]);
    recording.compare('pre_quant', rows.flat());
    recording.compare('quant', quant);
    recording.compare('diff', [meanSquare(quant, preQuant)]);
    recording.compare('margin', [marginOf(rows, model.hostWeight('quantize.embed'))]);
    recording.compare('recon', recon);
  });
  return recording.result();
}

/** `models/vq_vae.VQVAE` of AntixK/PyTorch-VAE: encode, vq_layer, decode. */
export async function runAntixkVqVae(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ a: RawConfig & { beta: number } }>(c.dir);
  const { a } = recording.config;
  const x = recording.tensor('in.x');
  const [batch, , height, width] = x.shape;
  await withModel(c, antixkVqVae, a, async (model) => {
    const out = await model.runAll({ part: 'reconstruct', batch, height, width }, { x: f32(x.data) });
    const { preQuant, quant, out: recon } = await readAll(out);
    recording.compare('z', preQuant);
    recording.compare('quantized', quant);
    // Commitment and embedding loss are one number seen from two sides.
    recording.compare('vq_loss', [(1 + a.beta) * meanSquare(quant, preQuant)]);
    recording.compare('recon', recon);
  });
  return recording.result();
}

/** `VQVAE(**config.vq2)`: encode, decode, decode_code. */
export async function runVqVae2(c: NetworkCase): Promise<CaseResult> {
  const recording = await OriginalCase.open<{ vq2: RawConfig & { embed_dim?: number } }>(c.dir);
  const { vq2 } = recording.config;
  const x = recording.tensor('in.x');
  const [batch, , height, width] = x.shape;
  const definition = { ...vqVae2, hostWeights: () => ['quantize_t.embed', 'quantize_b.embed'] };
  await withModel(c, definition, vq2, async (model) => {
    const D = model.config.embedDim;
    const out = await model.runAll({ part: 'reconstruct', batch, height, width }, { x: f32(x.data) });
    const { beforeTop, beforeBottom, quantTop, quantBottom, out: decoded } = await readAll(out);
    recording.same('id_t', await idsOf(out.idsTop));
    recording.same('id_b', await idsOf(out.idsBottom));
    recording.compare('quant_t', quantTop);
    recording.compare('quant_b', quantBottom);
    recording.compare('diff', [meanSquare(quantTop, beforeTop) + meanSquare(quantBottom, beforeBottom)]);
    const margin = (before: Float64Array, key: string) =>
      marginOf(rowsOf(before, [batch, D]), model.hostWeight(`${key}.embed`));
    recording.compare('margin', [margin(beforeTop, 'quantize_t'), margin(beforeBottom, 'quantize_b')]);
    recording.compare('decode', decoded);
    const ids = (key: string) => Uint32Array.from(recording.tensor(key).data);
    const fromCode = await model.run(
      { part: 'decodeCode', batch, height, width },
      { idsTop: ids('in.code_t'), idsBottom: ids('in.code_b') },
    );
    recording.compare('decode_code', await fromCode.read());
  });
  return recording.result();
}
