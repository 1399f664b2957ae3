/** Folders of pipelines in memory, of tiny networks: recorded ones, or of any config with seeded weights. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesDirectory, type Directory } from '../../src/loading/index.ts';
import { readControlNetConfig } from '../../src/models/controlNet/controlNetConfig.ts';
import { controlNetWeights } from '../../src/models/controlNet/controlNetModel.ts';
import type { ClipTextClass } from '../../src/models/textEncoders/clipTextModel.ts';
import { clipTextWeights } from '../../src/models/textEncoders/clipTextModel.ts';
import { readClipTextConfig } from '../../src/models/textEncoders/clipTextConfig.ts';
import { readT5Config } from '../../src/models/textEncoders/t5Config.ts';
import { t5Weights } from '../../src/models/textEncoders/t5EncoderModel.ts';
import { readUNetConditionConfig } from '../../src/models/unetCondition/unetConditionConfig.ts';
import { unet2dConditionWeights } from '../../src/models/unetCondition/unetConditionModel.ts';
import { f32, file, type Tensor } from '../loading/files.ts';
import { fixturesPath } from '../models/fixtures.ts';
import { normals } from '../support/random.ts';

/** Files by path. */
export type Files = Record<string, Uint8Array>;

export const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

export const jsonOf = (path: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(fixturesPath, path), 'utf8')) as Record<string, unknown>;

/** Every file of a fixture, under a folder of another. */
export function filesOf(name: string, under = ''): Files {
  const files: Files = {};
  const walk = (folder: string, prefix: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path, `${prefix}${entry.name}/`);
      else files[prefix + entry.name] = Uint8Array.from(readFileSync(path));
    }
  };
  walk(join(fixturesPath, name), under);
  return files;
}

export function directory(files: Files, name: string): Directory {
  const blobs = Object.entries(files).map(([path, bytes]) => [path, new Blob([bytes as Uint8Array<ArrayBuffer>])]);
  return filesDirectory(Object.fromEntries(blobs) as Record<string, Blob>, name);
}

/** Weights that keep activations of order one: gains around 1, matrices by their fan-in. */
export function seededWeights(shapes: ReadonlyMap<string, readonly number[]>, seed: number): Record<string, Tensor> {
  const tensors: Record<string, Tensor> = {};
  for (const [key, shape] of shapes) {
    const count = shape.reduce((a, b) => a * b, 1);
    const gain = shape.length === 1 && key.endsWith('.weight');
    const std = shape.length === 1 ? 0.1 : 1 / Math.sqrt(count / shape[0]);
    tensors[key] = f32([...shape], normals(seed++, count, { mean: gain ? 1 : 0, std }));
  }
  return tensors;
}

/** The U-Net of a fixture with some fields changed, and weights made for it. */
export function unetFiles(config: string, changes: Record<string, unknown>, seed = 11, under = 'unet/'): Files {
  const raw = { ...jsonOf(config), ...changes };
  const weights = seededWeights(unet2dConditionWeights(readUNetConditionConfig(raw)), seed);
  return { [`${under}config.json`]: json(raw), [`${under}diffusion_pytorch_model.safetensors`]: file(weights) };
}

/** A ControlNet for the U-Net of a fixture; its picture has `factor` pixels per cell, 2. */
export function controlNetFiles(config: string, seed: number): Files {
  const { in_channels, block_out_channels, down_block_types, cross_attention_dim, ...own } = jsonOf(config);
  const kept = ['addition_embed_type', 'addition_time_embed_dim', 'attention_head_dim', 'layers_per_block'];
  kept.push('norm_num_groups', 'projection_class_embeddings_input_dim', 'transformer_layers_per_block');
  kept.push('use_linear_projection', 'flip_sin_to_cos', 'freq_shift');
  const raw = {
    _class_name: 'ControlNetModel',
    ...Object.fromEntries(kept.map((key) => [key, own[key]])),
    ...{ in_channels, block_out_channels, down_block_types, cross_attention_dim },
    conditioning_embedding_out_channels: [4, 6],
  };
  const weights = seededWeights(controlNetWeights(readControlNetConfig(raw)), seed);
  return { 'controlnet/config.json': json(raw), 'controlnet/diffusion_pytorch_model.safetensors': file(weights) };
}

/** A text encoder of two layers for the tokenizer of the fixtures. */
export function textConfig(className: ClipTextClass, width: number, projection = 20): Record<string, unknown> {
  return {
    architectures: [className],
    model_type: 'clip_text_model',
    vocab_size: 678,
    hidden_size: width,
    intermediate_size: 2 * width,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    max_position_embeddings: 12,
    hidden_act: 'quick_gelu',
    projection_dim: projection,
    eos_token_id: 677,
    bos_token_id: 676,
    pad_token_id: 1,
  };
}

export function textWeights(
  className: ClipTextClass,
  width: number,
  seed: number,
  projection?: number,
): Record<string, Tensor> {
  const config = readClipTextConfig(textConfig(className, width, projection), className);
  return seededWeights(clipTextWeights(config, className), seed);
}

/** A text encoder with its tokenizer; `suffix` is that of their folders. */
export function textFiles(
  suffix: '' | '_2',
  className: ClipTextClass,
  width: number,
  seed: number,
  projection?: number,
): Files {
  return {
    [`text_encoder${suffix}/config.json`]: json(textConfig(className, width, projection)),
    [`text_encoder${suffix}/model.safetensors`]: file(textWeights(className, width, seed, projection)),
    ...filesOf('tokenizers/clip', `tokenizer${suffix}/`),
  };
}

/** A T5 encoder of 24 channels with a tokenizer; `suffix` is that of their folders. */
export function t5Files(suffix: '_2' | '_3', seed: number): Files {
  const raw = { ...jsonOf('t5_encoder/config.json'), vocab_size: 2048 };
  return {
    [`text_encoder${suffix}/config.json`]: json(raw),
    [`text_encoder${suffix}/model.safetensors`]: file(seededWeights(t5Weights(readT5Config(raw)), seed)),
    ...filesOf('tokenizers/t5', `tokenizer${suffix}/`),
  };
}

/** A folder's `model_index.json` for what it holds. */
export function modelIndex(className: string, parts: readonly string[], fields: object = {}): Uint8Array {
  const classes: Record<string, readonly [string, string]> = {
    unet: ['diffusers', 'UNet2DConditionModel'],
    vae: ['diffusers', 'AutoencoderKL'],
    scheduler: ['diffusers', 'EulerDiscreteScheduler'],
    text_encoder: ['transformers', 'CLIPTextModel'],
    text_encoder_2: ['transformers', 'CLIPTextModelWithProjection'],
    text_encoder_3: ['transformers', 'T5EncoderModel'],
    transformer: ['diffusers', 'Transformer'],
    controlnet: ['diffusers', 'ControlNetModel'],
    tokenizer: ['transformers', 'CLIPTokenizer'],
    tokenizer_2: ['transformers', 'CLIPTokenizer'],
    tokenizer_3: ['transformers', 'T5TokenizerFast'],
  };
  const entries = parts.map((part) => [part, classes[part]]);
  return json({ _class_name: className, ...(Object.fromEntries(entries) as object), ...fields });
}

/** The autoencoder of the recorded pipeline: two pixels per cell, four channels. */
export const vaeFiles = (): Files =>
  Object.fromEntries(Object.entries(filesOf('pipe_sd_ddim')).filter(([path]) => path.startsWith('vae/')));

/** Stable Diffusion's schedule under a class. */
export const schedule = (className: string, fields: object = {}) => ({
  _class_name: className,
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  beta_end: 0.012,
  num_train_timesteps: 1000,
  prediction_type: 'epsilon',
  ...fields,
});
