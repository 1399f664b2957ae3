/**
 * What the authors of Flux and Stable Diffusion 3 call the layers of their transformers; kohya's files speak of them.
 */

/** Where rows of an adapter's matrix belong: those from `first` on, one after the other, are the weight's own. */
export interface LoraPlace {
  /** Of the weight. */
  key: string;
  first: number;
  /** Rows of the matrix in the file: several weights may be one there. */
  of: number;
  /** The file has the weight's halves the other way round: shift before scale. */
  swapped?: boolean;
}

/** Layers under their original name; several stand below each other in one matrix. `~` marks swapped halves. */
type Names = Readonly<Record<string, readonly string[]>>;

const FLUX_DOUBLE: Names = {
  'img_attn.qkv': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'txt_attn.qkv': ['attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'],
  'img_attn.proj': ['attn.to_out.0'],
  'txt_attn.proj': ['attn.to_add_out'],
  'img_mlp.0': ['ff.net.0.proj'],
  'img_mlp.2': ['ff.net.2'],
  'txt_mlp.0': ['ff_context.net.0.proj'],
  'txt_mlp.2': ['ff_context.net.2'],
  'img_mod.lin': ['norm1.linear'],
  'txt_mod.lin': ['norm1_context.linear'],
};

const FLUX_SINGLE: Names = {
  linear1: ['attn.to_q', 'attn.to_k', 'attn.to_v', 'proj_mlp'],
  linear2: ['proj_out'],
  'modulation.lin': ['norm.linear'],
};

const TIME = 'time_text_embed';

const FLUX_OUTER: Names = {
  img_in: ['x_embedder'],
  txt_in: ['context_embedder'],
  'time_in.in_layer': [`${TIME}.timestep_embedder.linear_1`],
  'time_in.out_layer': [`${TIME}.timestep_embedder.linear_2`],
  'vector_in.in_layer': [`${TIME}.text_embedder.linear_1`],
  'vector_in.out_layer': [`${TIME}.text_embedder.linear_2`],
  'guidance_in.in_layer': [`${TIME}.guidance_embedder.linear_1`],
  'guidance_in.out_layer': [`${TIME}.guidance_embedder.linear_2`],
  'final_layer.linear': ['proj_out'],
  'final_layer.adaLN_modulation.1': ['~norm_out.linear'],
};

const SD3_JOINT: Names = {
  'x_block.attn.qkv': ['attn.to_q', 'attn.to_k', 'attn.to_v'],
  'x_block.attn2.qkv': ['attn2.to_q', 'attn2.to_k', 'attn2.to_v'],
  'context_block.attn.qkv': ['attn.add_q_proj', 'attn.add_k_proj', 'attn.add_v_proj'],
  'x_block.attn.proj': ['attn.to_out.0'],
  'x_block.attn2.proj': ['attn2.to_out.0'],
  'context_block.attn.proj': ['attn.to_add_out'],
  'x_block.mlp.fc1': ['ff.net.0.proj'],
  'x_block.mlp.fc2': ['ff.net.2'],
  'context_block.mlp.fc1': ['ff_context.net.0.proj'],
  'context_block.mlp.fc2': ['ff_context.net.2'],
  'x_block.adaLN_modulation.1': ['norm1.linear'],
  'context_block.adaLN_modulation.1': ['norm1_context.linear'],
};

/** The last block's text goes no further: its norm is the last layer's kind. */
const SD3_LAST: Names = { ...SD3_JOINT, 'context_block.adaLN_modulation.1': ['~norm1_context.linear'] };

const SD3_OUTER: Names = {
  'x_embedder.proj': ['pos_embed.proj'],
  context_embedder: ['context_embedder'],
  't_embedder.mlp.0': [`${TIME}.timestep_embedder.linear_1`],
  't_embedder.mlp.2': [`${TIME}.timestep_embedder.linear_2`],
  'y_embedder.mlp.0': [`${TIME}.text_embedder.linear_1`],
  'y_embedder.mlp.2': [`${TIME}.text_embedder.linear_2`],
  'final_layer.linear': ['proj_out'],
  'final_layer.adaLN_modulation.1': ['~norm_out.linear'],
};

/** Whether a layer's name is one of a transformer, in words of its authors or of diffusers. */
export function isTransformerLayer(name: string): boolean {
  const outer = 'img_in|txt_in|time_in|vector_in|guidance_in|final_layer|x_embedder|context_embedder|[ty]_embedder';
  return new RegExp(`^(double|single|joint)_blocks[._]|^(single_)?transformer_blocks[._]|^(${outer})([._]|$)`).test(
    name,
  );
}

/** Places of weights by original names, with dots. @param weights every key and shape of the model */
export function transformerNames(weights: ReadonlyMap<string, readonly number[]>): Map<string, LoraPlace[]> {
  const places = new Map<string, LoraPlace[]>();
  const add = (names: Names, from: string, to: string) => {
    for (const [name, layers] of Object.entries(names)) {
      const keys = layers.map((layer) => `${to}${layer.replace('~', '')}.weight`);
      if (!keys.every((key) => weights.has(key))) continue;
      const rows = keys.map((key) => weights.get(key)![0]);
      const of = rows.reduce((a, b) => a + b, 0);
      let first = 0;
      const own = keys.map((key, i): LoraPlace => {
        const place = { key, first, of, swapped: layers[i].startsWith('~') };
        first += rows[i];
        return place;
      });
      places.set(from + name, own);
    }
  };
  const count = (blocks: string) => {
    let n = 0;
    for (const key of weights.keys()) if (key.startsWith(`${blocks}.`)) n = Math.max(n, Number(key.split('.')[1]) + 1);
    return n;
  };
  const joint = count('transformer_blocks');
  if (weights.has('pos_embed.proj.weight')) {
    for (let i = 0; i < joint; i++) {
      add(i === joint - 1 ? SD3_LAST : SD3_JOINT, `joint_blocks.${i}.`, `transformer_blocks.${i}.`);
    }
    add(SD3_OUTER, '', '');
    return places;
  }
  for (let i = 0; i < joint; i++) add(FLUX_DOUBLE, `double_blocks.${i}.`, `transformer_blocks.${i}.`);
  for (let i = 0; i < count('single_transformer_blocks'); i++) {
    add(FLUX_SINGLE, `single_blocks.${i}.`, `single_transformer_blocks.${i}.`);
  }
  add(FLUX_OUTER, '', '');
  return places;
}
