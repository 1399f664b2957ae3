/** What the first code of latent diffusion calls the layers of a U-Net; kohya's files for SDXL speak of them. */

const RESNET: Readonly<Record<string, string>> = {
  norm1: 'in_layers.0',
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  norm2: 'out_layers.0',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
};

const FIXED: Readonly<Record<string, string>> = {
  conv_in: 'input_blocks.0.0',
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  conv_norm_out: 'out.0',
  conv_out: 'out.2',
  'mid_block.attentions.0': 'middle_block.1',
};

/**
 * From diffusers' path of a layer to the original one.
 * @param paths of all layers: how many there are per level tells the numbering.
 * @returns undefined for a layer that the original does not have.
 */
export function ldmNames(paths: Iterable<string>): (path: string) => string | undefined {
  const layers = new Map<string, number>();
  const attends = new Set<string>();
  for (const path of paths) {
    const [, block, kind, index] = /^((?:down|up)_blocks\.\d+)\.(resnets|attentions)\.(\d+)/.exec(path) ?? [];
    if (kind === 'resnets') layers.set(block, Math.max(layers.get(block) ?? 0, Number(index) + 1));
    if (kind === 'attentions') attends.add(block);
  }
  const before = (way: string, level: number, extra: number) => {
    let sum = 0;
    for (let i = 0; i < level; i++) sum += (layers.get(`${way}.${i}`) ?? 0) + extra;
    return sum;
  };
  return (path) => {
    for (const [from, to] of Object.entries(FIXED)) {
      if (path === from || path.startsWith(`${from}.`)) return to + path.slice(from.length);
    }
    const mid = /^mid_block\.resnets\.(\d)\.(\w+)$/.exec(path);
    if (mid) return `middle_block.${2 * Number(mid[1])}.${RESNET[mid[2]]}`;
    const match = /^(down_blocks|up_blocks)\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(
      path,
    );
    if (!match) return undefined;
    const [, way, level, kind, index, rest] = match;
    const block = `${way}.${level}`;
    const down = way === 'down_blocks';
    // On the way down the first convolution and each halving have a place of their own.
    const start = down ? 1 + before(way, Number(level), 1) : before(way, Number(level), 0);
    const own = layers.get(block) ?? 0;
    const root = down ? 'input_blocks' : 'output_blocks';
    switch (kind) {
      case 'resnets':
        return `${root}.${start + Number(index)}.0.${RESNET[rest]}`;
      case 'attentions':
        return `${root}.${start + Number(index)}.1.${rest}`;
      case 'downsamplers':
        return `${root}.${start + own}.0.op`;
      default:
        return `${root}.${start + own - 1}.${attends.has(block) ? 2 : 1}.conv`;
    }
  };
}
