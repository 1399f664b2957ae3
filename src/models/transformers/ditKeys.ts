/** The authors' names of a diffusion transformer's weights, and what their sizes say about it. */
import { FormatError } from '../../engine/index.ts';
import type { Checkpoint, RawConfig, Rename } from '../../loading/index.ts';

/** Parts of names, the authors' → those of diffusers; `to_qkv` holds what diffusers keeps in three. */
const PARTS: readonly (readonly [RegExp, string])[] = [
  [/^pos_embed$/, 'pos_embed.pos_embed'],
  [/^x_embedder\.proj\./, 'pos_embed.proj.'],
  [/^t_embedder\.mlp\.0\./, 'transformer_blocks.0.norm1.emb.timestep_embedder.linear_1.'],
  [/^t_embedder\.mlp\.2\./, 'transformer_blocks.0.norm1.emb.timestep_embedder.linear_2.'],
  [/^y_embedder\./, 'transformer_blocks.0.norm1.emb.class_embedder.'],
  [/^blocks\.(\d+)\.attn\.qkv\./, 'transformer_blocks.$1.attn1.to_qkv.'],
  [/^blocks\.(\d+)\.attn\.proj\./, 'transformer_blocks.$1.attn1.to_out.0.'],
  [/^blocks\.(\d+)\.mlp\.fc1\./, 'transformer_blocks.$1.ff.net.0.proj.'],
  [/^blocks\.(\d+)\.mlp\.fc2\./, 'transformer_blocks.$1.ff.net.2.'],
  [/^blocks\.(\d+)\.adaLN_modulation\.1\./, 'transformer_blocks.$1.norm1.linear.'],
  [/^final_layer\.adaLN_modulation\.1\./, 'proj_out_1.'],
  [/^final_layer\.linear\./, 'proj_out_2.'],
];

/** Names of either layout → those of diffusers. */
export const ditKeys: Rename = (key) => {
  const found = PARTS.find(([pattern]) => pattern.test(key));
  return found ? key.replace(found[0], found[1]) : key;
};

/** Heads of the published widths that are not 64 channels wide. */
const HEADS: Readonly<Record<number, number>> = { 1024: 16, 1152: 16 };

/**
 * The config of a checkpoint in the authors' layout, which is published without one: everything but the heads shows in
 * the sizes.
 * @param heads by default those of the published networks, of 64 channels, 72 in XL
 * @returns fields of {@link readDiTConfig}; undefined for another layout.
 * @throws FormatError where the sizes are not those of such a network.
 */
export function originalDiTConfig(checkpoint: Checkpoint, heads?: number): RawConfig | undefined {
  const own = checkpoint.view((key) => key);
  if (!own.has('x_embedder.proj.weight') || !own.has('y_embedder.embedding_table.weight')) return undefined;
  const shape = (key: string): readonly number[] => {
    if (own.has(key)) return own.info(key).shape;
    throw new FormatError(`DiT ${checkpoint.name}: expected weight ${key}, got none; is it the whole network?`);
  };
  const [hidden, inChannels, patch] = shape('x_embedder.proj.weight');
  const side = Math.sqrt(shape('pos_embed')[1]);
  const depth = new Set(own.keys().flatMap((key) => /^blocks\.(\d+)\./.exec(key)?.[1] ?? [])).size;
  const out = shape('final_layer.linear.weight')[0] / patch ** 2;
  if (!Number.isInteger(side) || (out !== inChannels && out !== 2 * inChannels)) {
    throw new FormatError(
      `DiT ${checkpoint.name}: expected a square table of positions and ${inChannels} or ${2 * inChannels} output ` +
        `channels, got ${side ** 2} positions and ${out} channels; pass its config`,
    );
  }
  return {
    _class_name: 'DiT',
    input_size: side * patch,
    patch_size: patch,
    in_channels: inChannels,
    hidden_size: hidden,
    depth,
    num_heads: heads ?? HEADS[hidden] ?? hidden / 64,
    mlp_ratio: shape('blocks.0.mlp.fc1.weight')[0] / hidden,
    class_dropout_prob: 0.1,
    num_classes: shape('y_embedder.embedding_table.weight')[0] - 1,
    learn_sigma: out === 2 * inChannels,
  };
}

const EMBEDDING = [
  'timestep_embedder.linear_1.bias',
  'timestep_embedder.linear_2.bias',
  'timestep_embedder.linear_1.weight',
  'timestep_embedder.linear_2.weight',
  'class_embedder.embedding_table.weight',
];

/** Names of the embeddings of all blocks but the first. */
export const LATER_EMBEDDINGS = /^transformer_blocks\.(?!0\.)\d+\.norm1\.emb\./;

/**
 * Whether all blocks have the first one's embedding of timestep and class: so it is in checkpoints that were converted
 * from the authors', and one is enough then. Reads the embeddings, small ones first, until two differ.
 */
export async function sharesEmbedding(checkpoint: Checkpoint, layers: number, signal?: AbortSignal): Promise<boolean> {
  for (const name of EMBEDDING) {
    const [first, ...others] = Array.from({ length: layers }, (_, i) => `transformer_blocks.${i}.norm1.emb.${name}`);
    if (![first, ...others].every((key) => checkpoint.has(key))) return false;
    const bytes = await checkpoint.readRaw(first, { signal });
    for (const key of others) if (!same(bytes, await checkpoint.readRaw(key, { signal }))) return false;
  }
  return true;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
