/** `CLIPTextModel` and `CLIPTextModelWithProjection` on a device: tokens of prompts to what a denoiser attends to. */
import { InvalidArgumentError, type Capabilities, type Device, type Graph, type Report } from '../../engine/index.ts';
import type { RawConfig, Rename } from '../../loading/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import { dense } from '../layers.ts';
import { setLoras, type LoraUse } from '../lora/mergeLoras.ts';
import type { ModelOutput, ModelOutputs, RunOptions } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import type { WeightScope } from '../weightScope.ts';
import { clipTextNorm, clipTextStates, endPositions, pickRows } from './clipText.ts';
import { readClipTextConfig, type ClipTextConfig } from './clipTextConfig.ts';
import { denseRows } from './denseRows.ts';
import { checkTokens, HIDDEN, type TextInput } from './tokenIds.ts';

/** What changes the recording. */
export interface ClipTextCall {
  batch: number;
  /** Tokens per prompt. */
  length: number;
  /** Whether a padding mask is given. */
  padded: boolean;
  /** States to give back as they are, and behind the final norm: 0 is the embedding, `layers` the last. */
  hidden: readonly number[];
  normed: readonly number[];
  /** Whether everything behind the last layer is wanted. */
  final: boolean;
}

/** The two classes differ in their last matrix. */
export type ClipTextClass = 'CLIPTextModel' | 'CLIPTextModelWithProjection';

/** States by Python's index: 0 is the embedding, −1 the last layer's, −2 the one before; `all` of them in order. */
export type HiddenStates = readonly number[] | 'all';

/** A call of {@link CLIPTextModel.forward}. */
export interface ClipTextOptions extends TextInput, RunOptions {
  /** States to give back besides, not normed, as `output_hidden_states` does. */
  hiddenStates?: HiddenStates;
  /** The same behind the final norm, as "clip skip" wants them. */
  normedHiddenStates?: HiddenStates;
}

/** States in the order asked for, [B,T,D] each; valid until the model's next call. */
export interface ClipTextStates {
  hiddenStates: ModelOutput[];
  normedHiddenStates: ModelOutput[];
}

/** Results; valid until the model's next call. */
export interface ClipTextOutput extends ClipTextStates {
  /** [B,T,D], normed. */
  lastHiddenState: ModelOutput;
  /** [B,D]: the same at the end token. */
  poolerOutput: ModelOutput;
  /** [B,projectionDim]; only with a projection. */
  textEmbeds: ModelOutput | undefined;
}

/** Newer files leave out the name of the only part. */
const rename: Rename = (key) => (/^(embeddings|encoder|final_layer_norm)\./.test(key) ? `text_model.${key}` : key);

/** The model by its class. */
export function clipTextDefinition(className: ClipTextClass): ModelDefinition<ClipTextConfig, ClipTextCall> {
  const projects = className === 'CLIPTextModelWithProjection';
  return {
    className,
    alsoReads: ['CLIPModel'],
    readConfig: (raw: RawConfig) => readClipTextConfig(raw, className),
    record: (g, w, config, call) => record(g, w, config, call, projects),
    probes: () => [{ batch: 1, length: 1, padded: false, hidden: [], normed: [], final: true }],
    rename,
    ignorable: [
      /(^|\.)position_ids$/,
      // The half of a whole CLIP that looks at pictures.
      /^vision_model\./,
      /^visual_projection\./,
      /^logit_scale$/,
      ...(projects ? [] : [/^text_projection\./]),
    ],
  };
}

function record(g: Graph, w: WeightScope, config: ClipTextConfig, call: ClipTextCall, projects: boolean): void {
  const { batch, length, padded, hidden, normed, final } = call;
  const ids = g.input('ids', [batch, length], { dtype: 'u32' });
  const positions = g.input('positions', [batch, length], { dtype: 'u32' });
  const mask = g.input('mask', [padded ? batch : 1, length, length]);
  const layers = final ? config.layers : Math.max(...hidden, ...normed);
  const states = clipTextStates(config, w, { ids, positions, mask }, layers); // [B,T,D] each
  for (const i of hidden) g.output(`hidden ${i}`, denseRows(states[i]));
  for (const i of normed) g.output(`normed ${i}`, denseRows(clipTextNorm(config, w, states[i])));
  if (!final) return;
  const last = clipTextNorm(config, w, states[layers]); // [B,T,D]
  g.output('last', denseRows(last));
  const pooled = pickRows(last, g.input('ends', [batch], { dtype: 'u32' })); // [B,D]
  g.output('pooled', denseRows(pooled));
  if (!projects) return;
  const embeds = dense(w.at('text_projection'), pooled, config.projectionDim, { bias: false }); // [B,projectionDim]
  g.output('embeds', denseRows(embeds));
}

/** CLIP's text model on a device. Radford et al. 2021. */
export class CLIPTextModel {
  protected constructor(protected readonly model: LoadedModel<ClipTextConfig, ClipTextCall>) {}

  /**
   * Loads `config.json` and `model.safetensors`, also from the folder of a whole CLIP.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<CLIPTextModel> {
    return new CLIPTextModel(await LoadedModel.load(device, source, clipTextDefinition('CLIPTextModel'), options));
  }

  get config(): ClipTextConfig {
    return this.model.config;
  }

  /**
   * inputIds [B,T], T at most `config.maxLength` → states, pooled state, projection.
   * @throws InvalidArgumentError for ids or a shape that do not fit, or after {@link dispose}; LimitError,
   * OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it usable.
   */
  async forward(options: ClipTextOptions): Promise<ClipTextOutput> {
    const { states, out } = await this.run(options, true);
    return { ...states, lastHiddenState: out.last, poolerOutput: out.pooled, textEmbeds: out.embeds };
  }

  /**
   * Only the states asked for: no layer behind the last of them runs. SDXL's first encoder is asked for −2.
   * @throws as {@link forward}, and InvalidArgumentError where none is asked for.
   */
  async hidden(options: ClipTextOptions): Promise<ClipTextStates> {
    return (await this.run(options, false)).states;
  }

  /** What such a call takes here; nothing is allocated. @throws LimitError */
  plan(call: Partial<ClipTextCall> = {}): Report {
    return this.model.plan({ ...fullCall(this.config), ...call });
  }

  /**
   * Merges adapters of low rank into the weights, in place of those before; none at all give back the file's.
   * @param part which of a pipeline's encoders this is.
   * @throws WeightError naming keys of an adapter for another model, and then nothing changes.
   */
  setLoras(
    uses: readonly LoraUse[],
    { part = 'text_encoder', signal }: { part?: 'text_encoder' | 'text_encoder_2'; signal?: AbortSignal } = {},
  ): Promise<void> {
    return setLoras(this.model, part, uses, { signal });
  }

  /** Bytes of the weights on the GPU. */
  get weightBytes(): number {
    return this.model.weightBytes;
  }

  /** Releases programs and weights; while a call is under way, as soon as it ends. */
  dispose(): void {
    this.model.dispose();
  }

  private async run(options: ClipTextOptions, final: boolean): Promise<{ states: ClipTextStates; out: ModelOutputs }> {
    const { config } = this.model;
    const { inputIds, attentionMask, hiddenStates = [], normedHiddenStates = [], ...runOptions } = options;
    const { batch, length } = checkTokens('CLIPTextModel', options, config.vocabSize, config.maxLength);
    const hidden = indices(hiddenStates, config.layers);
    const normed = indices(normedHiddenStates, config.layers);
    if (!final && hidden.length + normed.length === 0) {
      throw new InvalidArgumentError(
        'CLIPTextModel: expected states to give back, got none; name them in hiddenStates',
      );
    }
    const call: ClipTextCall = {
      batch,
      length,
      padded: attentionMask !== undefined,
      hidden: [...new Set(hidden)],
      normed: [...new Set(normed)],
      final,
    };
    const ids = Uint32Array.from(inputIds.data);
    const ends = endPositions(ids, batch, length, config.eosTokenId);
    const out = await this.model.runAll(
      call,
      {
        ids,
        positions: ids.map((_, i) => i % length),
        mask: causalMask(batch, length, attentionMask?.data),
        ...(final && { ends: Uint32Array.from(ends, (end, b) => b * length + end) }),
      },
      runOptions,
    );
    const states = {
      hiddenStates: hidden.map((i) => out[`hidden ${i}`]),
      normedHiddenStates: normed.map((i) => out[`normed ${i}`]),
    };
    return { states, out };
  }
}

/** CLIP's text model with the projection into the space that it shares with pictures. */
export class CLIPTextModelWithProjection extends CLIPTextModel {
  /** As {@link CLIPTextModel.load}. @throws as there. */
  static override async load(
    device: Device,
    source: ModelSource,
    options: LoadOptions = {},
  ): Promise<CLIPTextModelWithProjection> {
    const definition = clipTextDefinition('CLIPTextModelWithProjection');
    return new CLIPTextModelWithProjection(await LoadedModel.load(device, source, definition, options));
  }

  /** As {@link CLIPTextModel.forward}, with `textEmbeds`. @throws as there. */
  override async forward(options: ClipTextOptions): Promise<ClipTextOutput & { textEmbeds: ModelOutput }> {
    return (await super.forward(options)) as ClipTextOutput & { textEmbeds: ModelOutput };
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function clipTextWeights(
  config: ClipTextConfig,
  className: ClipTextClass = 'CLIPTextModel',
): ReadonlyMap<string, readonly number[]> {
  return weightsOf(clipTextDefinition(className), config);
}

/**
 * What a call takes at the limits that every adapter has, by default of one prompt of full length. @throws LimitError
 */
export function planClipText(
  config: ClipTextConfig,
  className: ClipTextClass = 'CLIPTextModel',
  call: Partial<ClipTextCall> = {},
  dtype: 'f32' | 'f16' = 'f32',
  caps?: Capabilities,
): Report {
  return planModel(clipTextDefinition(className), config, { ...fullCall(config), ...call }, dtype, caps);
}

const fullCall = (config: ClipTextConfig): ClipTextCall => ({
  batch: 1,
  length: config.maxLength,
  padded: false,
  hidden: [],
  normed: [],
  final: true,
});

/** 0 where query t may look at key s, −∞ elsewhere: [1,T,T], or [B,T,T] with a padding mask [B,T]. */
function causalMask(B: number, T: number, padding: ArrayLike<number> | undefined): Float32Array {
  const mask = new Float32Array((padding ? B : 1) * T * T);
  for (let i = 0; i < mask.length; i++) {
    const [b, t, s] = [Math.floor(i / (T * T)), Math.floor(i / T) % T, i % T];
    if (s > t || padding?.[b * T + s] === 0) mask[i] = HIDDEN;
  }
  return mask;
}

function indices(wanted: HiddenStates, layers: number): number[] {
  if (wanted === 'all') return Array.from({ length: layers + 1 }, (_, i) => i);
  return wanted.map((i) => {
    const at = i < 0 ? layers + 1 + i : i;
    if (Number.isInteger(i) && at >= 0 && at <= layers) return at;
    throw new InvalidArgumentError(
      `CLIPTextModel: expected states from ${-layers - 1} to ${layers}, got ${i}; the model has ${layers} layers`,
    );
  });
}
