/**
 * CLIP's text model in Stable Diffusion's files: as transformers names it (SD 1.x, SDXL's first), or as OpenCLIP does
 * (SD 2.x, SDXL's second), where query, key and value are one matrix.
 */
import type { RawConfig } from '../configReader.ts';
import type { Piece } from '../rename.ts';
import { countOf, replaceFirst, type Shapes } from './keys.ts';

const LAYER: readonly (readonly [RegExp, string])[] = [
  [/^ln_1\./, 'layer_norm1.'],
  [/^ln_2\./, 'layer_norm2.'],
  [/^attn\.out_proj\./, 'self_attn.out_proj.'],
  [/^mlp\.c_fc\./, 'mlp.fc1.'],
  [/^mlp\.c_proj\./, 'mlp.fc2.'],
];

const OUTSIDE: readonly (readonly [RegExp, string])[] = [
  [/^token_embedding\.weight$/, 'text_model.embeddings.token_embedding.weight'],
  [/^positional_embedding$/, 'text_model.embeddings.position_embedding.weight'],
  [/^ln_final\./, 'text_model.final_layer_norm.'],
];

/** OpenCLIP's key, without its prefix → those of transformers; undefined for what is not of the text model. */
export function openClipKey(key: string): string | Piece | readonly Piece[] | undefined {
  const outside = replaceFirst(key, OUTSIDE);
  if (outside) return outside;
  // A matrix that is multiplied from the right.
  if (key === 'text_projection') return { name: 'text_projection.weight', transposed: true };
  const [, number, rest] = /^transformer\.resblocks\.(\d+)\.(.*)$/.exec(key) ?? [];
  if (number === undefined) return undefined;
  const layer = `text_model.encoder.layers.${number}.`;
  const fused = /^attn\.in_proj_(weight|bias)$/.exec(rest);
  if (fused) return ['q', 'k', 'v'].map((n, i) => ({ name: `${layer}self_attn.${n}_proj.${fused[1]}`, part: [i, 3] }));
  const inner = replaceFirst(rest, LAYER);
  return inner && layer + inner;
}

/** Layers of an OpenCLIP text model. */
export const openClipLayers = (keys: readonly string[]): number => countOf(keys, 'transformer.resblocks.#.');

/** What both forms have in common; heads are of 64 channels in every published one. */
function common(hidden: number): RawConfig {
  return { hidden_size: hidden, num_attention_heads: Math.max(1, hidden / 64), eos_token_id: 49407 };
}

/** The config of an OpenCLIP text model by its shapes. @throws ConfigError naming a weight that is not there */
export function openClipConfig(shapes: Shapes, layers: number, projects: boolean): RawConfig {
  const [vocab, hidden] = shapes.of('token_embedding.weight');
  return {
    architectures: [projects ? 'CLIPTextModelWithProjection' : 'CLIPTextModel'],
    ...common(hidden),
    vocab_size: vocab,
    intermediate_size: shapes.of('transformer.resblocks.0.mlp.c_fc.weight')[0],
    num_hidden_layers: layers,
    max_position_embeddings: shapes.of('positional_embedding')[0],
    hidden_act: 'gelu',
    ...(projects && { projection_dim: shapes.of('text_projection')[1] }),
  };
}

/** The config of a text model under the names of transformers by its shapes. @throws ConfigError as above */
export function clipTextConfig(shapes: Shapes): RawConfig {
  const [vocab, hidden] = shapes.of('text_model.embeddings.token_embedding.weight');
  return {
    architectures: ['CLIPTextModel'],
    ...common(hidden),
    vocab_size: vocab,
    intermediate_size: shapes.of('text_model.encoder.layers.0.mlp.fc1.weight')[0],
    num_hidden_layers: countOf(shapes.keys, 'text_model.encoder.layers.#.'),
    max_position_embeddings: shapes.of('text_model.embeddings.position_embedding.weight')[0],
    hidden_act: 'quick_gelu',
  };
}
