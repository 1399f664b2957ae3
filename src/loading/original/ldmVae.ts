/**
 * The autoencoders of latent diffusion as their authors name them (`first_stage_model.*` in Stable Diffusion's files,
 * or files of their own), by the names of diffusers: with KL penalty or codebook.
 */
import type { RawConfig } from '../configReader.ts';
import type { Piece } from '../rename.ts';
import { countOf, replaceFirst, type Shapes } from './keys.ts';

const ATTENTION: Readonly<Record<string, string>> = {
  norm: 'group_norm',
  q: 'to_q',
  k: 'to_k',
  v: 'to_v',
  proj_out: 'to_out.0',
};

/** Levels of the decoder, which the authors count from the picture and diffusers from the latents. */
export const ldmVaeLevels = (keys: readonly string[]): number => countOf(keys, 'decoder.up.#.');

/**
 * The authors' key, without its prefix → that of diffusers, in whose files the 1×1 convolutions of the attention are
 * matrices; undefined for one that no such autoencoder has.
 */
export function ldmVaeKey(key: string, levels: number): string | Piece | undefined {
  if (/^(post_)?quant_conv\.|^quantize\.embedding\.weight$|^(en|de)coder\.conv_(in|out)\./.test(key)) return key;
  const [, half, rest] = /^(encoder|decoder)\.(.*)$/.exec(key) ?? [];
  if (!half) return undefined;
  const up = (level: string) => levels - 1 - Number(level);
  const path = replaceFirst(rest, [
    [/^norm_out\./, 'conv_norm_out.'],
    [/^mid\.block_1\./, 'mid_block.resnets.0.'],
    [/^mid\.block_2\./, 'mid_block.resnets.1.'],
    [/^mid\.attn_1\./, 'mid_block.attentions.0.'],
    [/^down\.(\d+)\.block\.(\d+)\./, 'down_blocks.$1.resnets.$2.'],
    [/^down\.(\d+)\.attn\.(\d+)\./, 'down_blocks.$1.attentions.$2.'],
    [/^down\.(\d+)\.downsample\./, 'down_blocks.$1.downsamplers.0.'],
    [/^up\.(\d+)\.block\.(\d+)\./, 'up_blocks.$1.resnets.$2.'],
    [/^up\.(\d+)\.attn\.(\d+)\./, 'up_blocks.$1.attentions.$2.'],
    [/^up\.(\d+)\.upsample\./, 'up_blocks.$1.upsamplers.0.'],
  ]);
  if (path === undefined) return undefined;
  const name = `${half}.${path}`
    .replace(/up_blocks\.(\d+)/, (_, level: string) => `up_blocks.${up(level)}`)
    .replace('.nin_shortcut.', '.conv_shortcut.');
  const attention = /^(.*\.attentions\.\d+\.)(norm|q|k|v|proj_out)(\.\w+)$/.exec(name);
  if (!attention) return name;
  const [, before, layer, after] = attention;
  return { name: before + ATTENTION[layer] + after, squeezed: true };
}

/**
 * The config of such an autoencoder by its shapes, `AutoencoderKL` or `VQModel`. How a pipeline scales latents shows in
 * no shape: add `scaling_factor`, and `shift_factor` where there is one.
 * @throws ConfigError naming a weight that is not there
 */
export function ldmVaeConfig(shapes: Shapes): RawConfig {
  const { keys } = shapes;
  const levels = Array.from({ length: countOf(keys, 'encoder.down.#.') }, (_, i) => i);
  const has = (part: string) => keys.some((key) => key.startsWith(part));
  const [latent, inner] = [shapes.of('decoder.conv_in.weight')[1], 'encoder.down'];
  const codebook = shapes.has('quantize.embedding.weight') ? shapes.of('quantize.embedding.weight') : undefined;
  const common = {
    in_channels: shapes.of('encoder.conv_in.weight')[1],
    out_channels: shapes.of('decoder.conv_out.weight')[0],
    block_out_channels: levels.map((i) => shapes.of(`${inner}.${i}.block.0.conv1.weight`)[0]),
    layers_per_block: countOf(keys, `${inner}.0.block.#.`),
    down_block_types: levels.map((i) => (has(`${inner}.${i}.attn.`) ? 'AttnDownEncoderBlock2D' : 'DownEncoderBlock2D')),
    up_block_types: levels.map((i) =>
      has(`decoder.up.${levels.length - 1 - i}.attn.`) ? 'AttnUpDecoderBlock2D' : 'UpDecoderBlock2D',
    ),
    latent_channels: latent,
    mid_block_add_attention: has('encoder.mid.attn_1.'),
  };
  if (codebook) {
    return {
      _class_name: 'VQModel',
      ...common,
      num_vq_embeddings: codebook[0],
      vq_embed_dim: codebook[1],
    };
  }
  return {
    _class_name: 'AutoencoderKL',
    ...common,
    use_quant_conv: has('quant_conv.'),
    use_post_quant_conv: has('post_quant_conv.'),
  };
}
