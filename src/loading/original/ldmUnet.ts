/**
 * The U-Net of latent diffusion as its authors name it (`model.diffusion_model.*` in Stable Diffusion's files), by the
 * names of diffusers. The authors number blocks through; diffusers counts levels and layers.
 */
import { ConfigError } from '../../engine/errors.ts';
import type { RawConfig } from '../configReader.ts';
import { countOf, replaceFirst, type Shapes } from './keys.ts';

const RESNET: readonly (readonly [RegExp, string])[] = [
  [/^in_layers\.0\./, 'norm1.'],
  [/^in_layers\.2\./, 'conv1.'],
  [/^emb_layers\.1\./, 'time_emb_proj.'],
  [/^out_layers\.0\./, 'norm2.'],
  [/^out_layers\.3\./, 'conv2.'],
  [/^skip_connection\./, 'conv_shortcut.'],
];

const OUTSIDE: readonly (readonly [RegExp, string])[] = [
  [/^time_embed\.0\./, 'time_embedding.linear_1.'],
  [/^time_embed\.2\./, 'time_embedding.linear_2.'],
  [/^label_emb\.0\.0\./, 'add_embedding.linear_1.'],
  [/^label_emb\.0\.2\./, 'add_embedding.linear_2.'],
  [/^input_blocks\.0\.0\./, 'conv_in.'],
  [/^middle_block\.1\./, 'mid_block.attentions.0.'],
  [/^out\.0\./, 'conv_norm_out.'],
  [/^out\.2\./, 'conv_out.'],
];

/**
 * Residual layers per level, which the numbering of the blocks hangs on: the first block that halves comes behind them.
 */
export function ldmUnetLayers(keys: readonly string[]): number {
  const halving = keys.flatMap((key) => /^input_blocks\.(\d+)\.0\.op\./.exec(key)?.[1] ?? []).map(Number);
  return (halving.length > 0 ? Math.min(...halving) : countOf(keys, 'input_blocks.#.')) - 1;
}

/**
 * The authors' key, without its prefix → that of diffusers; undefined for one that no such U-Net has.
 * @param layers residual layers per level, see {@link ldmUnetLayers}
 */
export function ldmUnetKey(key: string, layers: number): string | undefined {
  const outside = replaceFirst(key, OUTSIDE);
  if (outside) return outside;
  const middle = /^middle_block\.([02])\.(.*)$/.exec(key);
  if (middle) {
    const rest = replaceFirst(middle[2], RESNET);
    return rest && `mid_block.resnets.${Number(middle[1]) / 2}.${rest}`;
  }
  const block = /^(input|output)_blocks\.(\d+)\.([012])\.(.*)$/.exec(key);
  if (!block) return undefined;
  const [, way, number, slot, rest] = block;
  const i = Number(number) - (way === 'input' ? 1 : 0);
  const level = `${way === 'input' ? 'down' : 'up'}_blocks.${Math.floor(i / (layers + 1))}`;
  if (way === 'input' && rest.startsWith('op.')) return `${level}.downsamplers.0.conv.${rest.slice(3)}`;
  if (way === 'output' && slot !== '0' && rest.startsWith('conv.')) return `${level}.upsamplers.0.${rest}`;
  const layer = i % (layers + 1);
  if (slot === '1') return `${level}.attentions.${layer}.${rest}`;
  const inner = slot === '0' ? replaceFirst(rest, RESNET) : undefined;
  return inner && `${level}.resnets.${layer}.${inner}`;
}

/**
 * The config of such a U-Net by its shapes. What no shape tells is as Stable Diffusion has it: 32 groups, eight heads
 * where the projections around the attention are convolutions, heads of 64 channels where they are matrices.
 * @throws ConfigError for a form that the config of diffusers cannot say.
 */
export function ldmUnetConfig(shapes: Shapes): RawConfig {
  const { keys } = shapes;
  const layers = ldmUnetLayers(keys);
  const levels = Math.round(countOf(keys, 'input_blocks.#.') / (layers + 1));
  const range = Array.from({ length: levels }, (_, i) => i);
  const first = (level: number) => 1 + level * (layers + 1);
  const channels = range.map((level) => shapes.of(`input_blocks.${first(level)}.0.out_layers.3.weight`)[0]);
  const depthOf = (path: string) => countOf(keys, `${path}.1.transformer_blocks.#.`);
  const down = range.map((level) => depthOf(`input_blocks.${first(level)}`));
  const up = range.map((level) => depthOf(`output_blocks.${level * (layers + 1)}`));
  const mid = depthOf('middle_block');
  const cross = keys.find((key) => key.endsWith('.1.transformer_blocks.0.attn2.to_k.weight'));
  const projection = keys.find((key) => key.endsWith('.1.proj_in.weight'));
  // The middle takes the depth of the last level, which need not have attention of its own.
  const depths = down.map((depth, level) => (level === levels - 1 ? mid : depth || 1));
  const mirrored = down.every((depth, level) => depth === up[levels - 1 - level]);
  if (!mirrored || !cross || !projection || mid === 0 || (down[levels - 1] !== 0 && down[levels - 1] !== mid)) {
    throw new ConfigError(
      `single file: expected a U-Net with the same attention on both ways and in the middle, got ${down.join(', ')} ` +
        `layers on the way down, ${mid} in the middle, ${up.join(', ')} on the way up; pass its config`,
      'transformer_layers_per_block',
    );
  }
  const linear = shapes.of(projection).length === 2;
  const added = shapes.has('label_emb.0.0.weight');
  return {
    _class_name: 'UNet2DConditionModel',
    in_channels: shapes.of('input_blocks.0.0.weight')[1],
    out_channels: shapes.of('out.2.weight')[0],
    block_out_channels: channels,
    layers_per_block: layers,
    down_block_types: down.map((depth) => (depth > 0 ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    up_block_types: up.map((depth) => (depth > 0 ? 'CrossAttnUpBlock2D' : 'UpBlock2D')),
    cross_attention_dim: shapes.of(cross)[1],
    attention_head_dim: linear ? channels.map((C) => C / 64) : 8,
    use_linear_projection: linear,
    transformer_layers_per_block: depths.every((depth) => depth === depths[0]) ? depths[0] : depths,
    ...(added && {
      addition_embed_type: 'text_time',
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: shapes.of('label_emb.0.0.weight')[1],
    }),
  };
}
