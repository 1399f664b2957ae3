/**
 * Test checkpoints in the layout of Stable Diffusion's authors, made from those of diffusers: the way back, written
 * without a look at the way there.
 */
import type { Tensor } from './files.ts';

type Tensors = Record<string, Tensor>;

const RESNET: Record<string, string> = {
  norm1: 'in_layers.0',
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  norm2: 'out_layers.0',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
};

/** A U-Net's key; `layers` per level, and which levels of the way up have attention. */
export function toLdmUnet(key: string, layers: number, upAttention: readonly boolean[]): string {
  const parts = key.split('.');
  const tail = parts.at(-1)!;
  const fixed: Record<string, string> = {
    'time_embedding.linear_1': 'time_embed.0',
    'time_embedding.linear_2': 'time_embed.2',
    'add_embedding.linear_1': 'label_emb.0.0',
    'add_embedding.linear_2': 'label_emb.0.2',
    conv_in: 'input_blocks.0.0',
    conv_norm_out: 'out.0',
    conv_out: 'out.2',
  };
  const before = parts.slice(0, -1).join('.');
  if (fixed[before]) return `${fixed[before]}.${tail}`;
  const [side, level, kind, index, ...rest] = parts;
  if (side === 'mid_block') {
    const [what, at, ...inner] = parts.slice(1);
    if (what === 'attentions') return `middle_block.1.${inner.join('.')}`;
    return `middle_block.${at === '0' ? 0 : 2}.${RESNET[inner[0]]}.${tail}`;
  }
  const start = Number(level) * (layers + 1);
  if (kind === 'downsamplers') return `input_blocks.${start + layers + 1}.0.op.${tail}`;
  if (kind === 'upsamplers')
    return `output_blocks.${start + layers}.${upAttention[Number(level)] ? 2 : 1}.conv.${tail}`;
  const block =
    side === 'down_blocks' ? `input_blocks.${start + 1 + Number(index)}` : `output_blocks.${start + Number(index)}`;
  if (kind === 'attentions') return `${block}.1.${rest.join('.')}`;
  return `${block}.0.${RESNET[rest[0]]}.${tail}`;
}

/** An autoencoder's key. */
export function toLdmVae(key: string, levels: number): string {
  return key
    .replace('conv_norm_out', 'norm_out')
    .replace('mid_block.resnets.0', 'mid.block_1')
    .replace('mid_block.resnets.1', 'mid.block_2')
    .replace('mid_block.attentions.0', 'mid.attn_1')
    .replace(/down_blocks\.(\d+)\.resnets/, 'down.$1.block')
    .replace(/down_blocks\.(\d+)\.attentions/, 'down.$1.attn')
    .replace(/down_blocks\.(\d+)\.downsamplers\.0/, 'down.$1.downsample')
    .replace(/up_blocks\.(\d+)\.resnets/, (_, i) => `up.${levels - 1 - Number(i)}.block`)
    .replace(/up_blocks\.(\d+)\.attentions/, (_, i) => `up.${levels - 1 - Number(i)}.attn`)
    .replace(/up_blocks\.(\d+)\.upsamplers\.0/, (_, i) => `up.${levels - 1 - Number(i)}.upsample`)
    .replace('conv_shortcut', 'nin_shortcut')
    .replace('group_norm', 'norm')
    .replace('to_out.0', 'proj_out')
    .replace(/\.to_([qkv])\./, '.$1.');
}

/** An autoencoder, the matrices of its attention as 1×1 convolutions. */
export function ldmVae(tensors: Tensors, levels: number): Tensors {
  const out: Tensors = {};
  for (const [key, tensor] of Object.entries(tensors)) {
    const matrix = key.includes('attentions') && tensor.shape.length === 2;
    out[toLdmVae(key, levels)] = matrix ? { ...tensor, shape: [...tensor.shape, 1, 1] } : tensor;
  }
  return out;
}

/** A text model as OpenCLIP has it: query, key and value in one, the projection from the right. */
export function openClip(tensors: Tensors): Tensors {
  const out: Tensors = {};
  for (const [key, tensor] of Object.entries(tensors)) {
    const name = key
      .replace('text_model.embeddings.token_embedding', 'token_embedding')
      .replace('text_model.embeddings.position_embedding.weight', 'positional_embedding')
      .replace('text_model.final_layer_norm', 'ln_final')
      .replace('text_model.encoder.layers', 'transformer.resblocks')
      .replace('layer_norm1', 'ln_1')
      .replace('layer_norm2', 'ln_2')
      .replace('mlp.fc1', 'mlp.c_fc')
      .replace('mlp.fc2', 'mlp.c_proj')
      .replace('self_attn.out_proj', 'attn.out_proj');
    if (name === 'text_projection.weight') out['text_projection'] = transposed(tensor);
    else if (/self_attn\.[kv]_proj/.test(name) || name.endsWith('position_ids')) continue;
    else if (name.includes('self_attn.q_proj')) {
      const all = ['q', 'k', 'v'].map((n) => tensors[key.replace('q_proj', `${n}_proj`)]);
      const bytes = Uint8Array.from(all.flatMap((t) => [...t.bytes]));
      const fused = { dtype: tensor.dtype, shape: [3 * tensor.shape[0], ...tensor.shape.slice(1)], bytes };
      out[name.replace('self_attn.q_proj.', 'attn.in_proj_')] = fused;
    } else out[name] = tensor;
  }
  return out;
}

function transposed({ dtype, shape: [rows, columns], bytes }: Tensor): Tensor {
  const size = bytes.length / (rows * columns);
  const out = new Uint8Array(bytes.length);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      out.set(bytes.subarray((r * columns + c) * size, (r * columns + c + 1) * size), (c * rows + r) * size);
  return { dtype, shape: [columns, rows], bytes: out };
}

/** All keys behind a prefix. */
export const below = (prefix: string, tensors: Tensors): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [prefix + key, tensor]));
