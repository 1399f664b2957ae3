/** The config of CLIP's picture encoder: `CLIPVisionConfig` of transformers, every field of it. */
import { ConfigReader, type RawConfig } from '../../loading/index.ts';
import type { ClipLayerConfig } from '../textEncoders/clipText.ts';
import { NO_CHANGE, transformersActivation } from '../textEncoders/transformersConfig.ts';

/** The fields of `config.json` in camelCase, defaults filled in. */
export interface ClipVisionConfig extends ClipLayerConfig {
  /** Channels of the projected vector. */
  projectionDim: number;
  layers: number;
  /** Of the picture. */
  channels: number;
  /** Sides of the picture and of a patch, pixels. */
  imageSize: number;
  patchSize: number;
}

/**
 * Reads `config.json`, also the `vision_config` inside the config of a whole CLIP.
 * @throws ConfigError naming the field.
 */
export function readClipVisionConfig(raw: RawConfig): ClipVisionConfig {
  const part = raw['vision_config'];
  const inner = typeof part === 'object' && part !== null;
  // Files of a certain age have the fields twice; the library lets the second form win.
  const fields = inner ? { ...(part as RawConfig), ...(raw['vision_config_dict'] as RawConfig | undefined) } : raw;
  const cfg = new ConfigReader(fields, 'CLIPVisionModelWithProjection');
  const hiddenSize = cfg.int('hidden_size', 768, { min: 1 });
  const heads = cfg.int('num_attention_heads', 12, { min: 1 });
  if (hiddenSize % heads !== 0) cfg.refuse('num_attention_heads', `a divisor of hidden_size ${hiddenSize}`);
  const patchSize = cfg.int('patch_size', 32, { min: 1 });
  const config: ClipVisionConfig = {
    hiddenSize,
    intermediateSize: cfg.int('intermediate_size', 3072, { min: 1 }),
    projectionDim: cfg.int('projection_dim', 512, { min: 1 }),
    layers: cfg.int('num_hidden_layers', 12, { min: 1 }),
    heads,
    channels: cfg.int('num_channels', 3, { min: 1 }),
    imageSize: cfg.int('image_size', 224, { min: patchSize }),
    patchSize,
    act: transformersActivation(cfg, 'hidden_act', cfg.string('hidden_act', 'quick_gelu')),
    eps: cfg.number('layer_norm_eps', 1e-5, { min: 0 }),
  };
  cfg.only('pruned_heads', {}, null);
  cfg.ignored([...NO_CHANGE, 'eos_token_id']);
  cfg.done();
  return config;
}
