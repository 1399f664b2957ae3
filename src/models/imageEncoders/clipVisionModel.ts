/** `CLIPVisionModelWithProjection` on a device: pictures to the space that CLIP shares with texts. */
import { InvalidArgumentError, type Capabilities, type Device, type Report } from '../../engine/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, RunOptions, TensorInput } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { denseRows } from '../textEncoders/denseRows.ts';
import { shapeOf } from '../transformers/inputs.ts';
import { clipVision, tokensOf } from './clipVision.ts';
import { readClipVisionConfig, type ClipVisionConfig } from './clipVisionConfig.ts';

/** What changes the recording. */
export interface ClipVisionCall {
  batch: number;
  /** States to give back: 0 is in front of the first layer, `layers` behind the last. */
  hidden: readonly number[];
}

/** A call of {@link CLIPVisionModelWithProjection.forward}. */
export interface ClipVisionOptions extends RunOptions {
  /** [B,C,imageSize,imageSize], scaled and normed as the picture processor does it. */
  pixelValues: TensorInput;
  /** States to give back besides, by Python's index: −1 is the last layer's. */
  hiddenStates?: readonly number[];
}

/** Results; valid until the model's next call. */
export interface ClipVisionOutput {
  /** [B,projectionDim]. */
  imageEmbeds: ModelOutput;
  /** [B,T,D]. */
  lastHiddenState: ModelOutput;
  /** [B,D]: the first token's, normed. */
  poolerOutput: ModelOutput;
  /** In the order asked for, [B,T,D] each. */
  hiddenStates: ModelOutput[];
}

const NAME = 'CLIPVisionModelWithProjection';
const FIRST = 'vision_model.embeddings.class_embedding';

/** Its weights and recordings. */
export const clipVisionDefinition: ModelDefinition<ClipVisionConfig, ClipVisionCall> = {
  className: NAME,
  alsoReads: ['CLIPModel'],
  readConfig: readClipVisionConfig,
  record(g, w, config, { batch: B, hidden }) {
    const { channels, imageSize: side, hiddenSize: D } = config;
    const pixels = g.input('pixels', [B, channels, side, side]);
    const first = g.input('first', [B, 1, D]);
    const positions = g.input('positions', [B, tokensOf(config)], { dtype: 'u32' });
    const { states, pooled, embeds } = clipVision(config, w, { pixels, first, positions });
    g.output('embeds', denseRows(embeds));
    g.output('last', denseRows(states.at(-1)!));
    g.output('pooled', denseRows(pooled));
    for (const i of hidden) g.output(`hidden ${i}`, denseRows(states[i]));
  },
  probes: () => [{ batch: 1, hidden: [] }],
  // Newer files leave out the name of the only part.
  rename: (key) => (/^(embeddings|encoder|pre_layrnorm|post_layernorm)\./.test(key) ? `vision_model.${key}` : key),
  ignorable: [
    /(^|\.)position_ids$/,
    // The half of a whole CLIP that reads texts.
    /^text_model\./,
    /^text_projection\./,
    /^logit_scale$/,
  ],
  hostWeights: () => [FIRST],
};

/** CLIP's picture encoder on a device. Radford et al. 2021. */
export class CLIPVisionModelWithProjection {
  private constructor(private readonly model: LoadedModel<ClipVisionConfig, ClipVisionCall>) {}

  /**
   * Loads `config.json` and `model.safetensors`, also from the folder of a whole CLIP.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(
    device: Device,
    source: ModelSource,
    options: LoadOptions = {},
  ): Promise<CLIPVisionModelWithProjection> {
    return new CLIPVisionModelWithProjection(await LoadedModel.load(device, source, clipVisionDefinition, options));
  }

  get config(): ClipVisionConfig {
    return this.model.config;
  }

  /**
   * Pictures [B,C,imageSize,imageSize] → embeddings and states.
   * @throws InvalidArgumentError for pictures of another size, states that there are not, or after {@link dispose};
   * LimitError, OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it usable.
   */
  async forward({ pixelValues, hiddenStates = [], ...options }: ClipVisionOptions): Promise<ClipVisionOutput> {
    const { channels, imageSize, hiddenSize: D, layers } = this.config;
    const [batch] = shapeOf(NAME, 'pixelValues', pixelValues, ['B', channels, imageSize, imageSize]);
    const wanted = hiddenStates.map((i) => {
      const at = i < 0 ? layers + 1 + i : i;
      if (Number.isInteger(i) && at >= 0 && at <= layers) return at;
      throw new InvalidArgumentError(`${NAME}: expected states from ${-layers - 1} to ${layers}, got ${i}`);
    });
    const first = this.model.hostWeight(FIRST);
    const T = tokensOf(this.config);
    const out = await this.model.runAll(
      { batch, hidden: [...new Set(wanted)] },
      {
        pixels: pixelValues.data,
        first: Float32Array.from({ length: batch * D }, (_, i) => first[i % D]),
        positions: Uint32Array.from({ length: batch * T }, (_, i) => i % T),
      },
      options,
    );
    return {
      imageEmbeds: out.embeds,
      lastHiddenState: out.last,
      poolerOutput: out.pooled,
      hiddenStates: wanted.map((i) => out[`hidden ${i}`]),
    };
  }

  /** What such a call takes here; nothing is allocated. @throws LimitError */
  plan({ batch = 1 }: { batch?: number } = {}): Report {
    return this.model.plan({ batch, hidden: [] });
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function clipVisionWeights(config: ClipVisionConfig): ReadonlyMap<string, readonly number[]> {
  return weightsOf(clipVisionDefinition, config);
}

/** What a call takes at the limits that every adapter has. @throws LimitError */
export function planClipVision(
  config: ClipVisionConfig,
  { batch = 1 }: { batch?: number } = {},
  dtype: 'f32' | 'f16' = 'f32',
  caps?: Capabilities,
): Report {
  return planModel(clipVisionDefinition, config, { batch, hidden: [] }, dtype, caps);
}
