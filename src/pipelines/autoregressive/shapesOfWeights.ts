/**
 * The constructors' arguments of networks that were published as state dicts alone: every one of them that changes a
 * result shows in the names and shapes of the weights.
 */
import { WeightError } from '../../engine/index.ts';
import type { Checkpoint, RawConfig } from '../../loading/index.ts';

/** How many of 0, 1, 2 … a list of modules has with that key in it. */
function countOf(stored: Checkpoint, key: (i: number) => string): number {
  let n = 0;
  while (stored.has(key(n))) n++;
  return n;
}

/** Dimensions of a tensor. @throws WeightError where there is none of that name */
const shapeOf = (stored: Checkpoint, key: string): readonly number[] => stored.info(key).shape;

/** Arguments of rosinality/vq-vae-2-pytorch's `PixelSNAIL`. @throws WeightError for the weights of something else */
export function pixelSnailArguments(stored: Checkpoint): RawConfig {
  const first = 'horizontal.conv.conv.weight_v';
  if (!stored.has(first) || !stored.has('background')) {
    throw new WeightError(
      `${stored.name}: expected the weights of a PixelSNAIL, got none of ${first} and background; name the right file`,
      [first, 'background'],
    );
  }
  const [, , height, width] = shapeOf(stored, 'background');
  const [channel, n_class, , kernel] = shapeOf(stored, first);
  const block = 'blocks.0.resblocks';
  const resBlocks = countOf(stored, (i) => `${block}.${i}.conv1.conv.conv.weight_v`);
  const [res_channel, , kernel_size] = resBlocks
    ? shapeOf(stored, `${block}.0.conv1.conv.conv.weight_v`)
    : [channel, channel, kernel];
  const condition = 'cond_resnet.blocks';
  const conditioned = stored.has(`${condition}.0.conv.weight_v`);
  const [cond_res_channel, , cond_res_kernel] = conditioned
    ? shapeOf(stored, `${condition}.0.conv.weight_v`)
    : [0, 0, 3];
  return {
    shape: [height, width],
    n_class,
    channel,
    kernel_size,
    n_block: new Set(stored.keys().flatMap((key) => /^blocks\.(\d+)\./.exec(key)?.[1] ?? [])).size,
    n_res_block: resBlocks,
    res_channel,
    attention: stored.has('blocks.0.causal_attention.query.weight_v'),
    n_cond_res_block: conditioned ? countOf(stored, (i) => `${condition}.${i + 1}.conv1.conv.weight_v`) : 0,
    cond_res_channel,
    cond_res_kernel,
    n_out_res_block: countOf(stored, (i) => `out.${i}.conv1.conv.weight_v`),
  };
}

/** The layouts of autoencoders, each with the key that only it has and its arguments. */
const LAYOUTS: readonly [className: string, key: string, (stored: Checkpoint) => RawConfig][] = [
  ['VQVAE2', 'quantize_t.embed', (stored) => vqVaeArguments(stored, 'enc_b', 'quantize_t')],
  ['VQVAE1', 'quantize.embed', (stored) => vqVaeArguments(stored, 'enc', 'quantize')],
  ['VQVAE', 'vq_layer.embedding.weight', antixkArguments],
];

/** Class and arguments of a VQ-VAE. @throws WeightError for the weights of something else */
export function vqVaeLayout(stored: Checkpoint): RawConfig & { _class_name: string } {
  const found = LAYOUTS.find(([, key]) => stored.has(key));
  if (found) return { _class_name: found[0], ...found[2](stored) };
  const keys = LAYOUTS.map(([, key]) => key);
  throw new WeightError(
    `${stored.name}: expected the weights of a VQ-VAE, with one of ${keys.join(', ')}, got none; name the right file`,
    keys,
  );
}

function vqVaeArguments(stored: Checkpoint, encoder: string, quantize: string): RawConfig {
  const [channel] = shapeOf(stored, `${encoder}.blocks.2.weight`);
  const [, in_channel] = shapeOf(stored, `${encoder}.blocks.0.weight`);
  const [embed_dim, n_embed] = shapeOf(stored, `${quantize}.embed`);
  const residual = (i: number) => `${encoder}.blocks.${5 + i}.conv.1.weight`;
  const n_res_block = countOf(stored, residual);
  const n_res_channel = n_res_block ? shapeOf(stored, residual(0))[0] : 1;
  return { in_channel, channel, n_res_block, n_res_channel, embed_dim, n_embed };
}

function antixkArguments(stored: Checkpoint): RawConfig {
  const down = (i: number) => `encoder.${i}.0.weight`;
  const halving = (i: number) => stored.has(down(i)) && shapeOf(stored, down(i))[2] === 4;
  const hidden_dims: number[] = [];
  while (halving(hidden_dims.length)) hidden_dims.push(shapeOf(stored, down(hidden_dims.length))[0]);
  const [num_embeddings, embedding_dim] = shapeOf(stored, 'vq_layer.embedding.weight');
  return { in_channels: shapeOf(stored, down(0))[1], embedding_dim, num_embeddings, hidden_dims };
}
