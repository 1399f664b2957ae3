/** `T5EncoderModel` on a device: tokens of prompts to states. */
import type { Capabilities, Device, Report } from '../../engine/index.ts';
import { LoadedModel, planModel, weightsOf, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, RunOptions } from '../modelRuntime.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { Network } from '../network.ts';
import { denseRows } from './denseRows.ts';
import { readT5Config, type T5Config } from './t5Config.ts';
import { relativeBuckets, t5Encoder } from './t5Encoder.ts';
import { checkTokens, HIDDEN, type TextInput } from './tokenIds.ts';

/** What changes the recording. */
export interface T5Call {
  batch: number;
  /** Tokens per prompt. */
  length: number;
  /** Whether a padding mask is given. */
  padded: boolean;
}

/** T5's encoder, also out of a checkpoint that has the decoder too. */
export const t5Definition: ModelDefinition<T5Config, T5Call> = {
  className: 'T5EncoderModel',
  alsoReads: ['T5ForConditionalGeneration', 'T5Model'],
  readConfig: readT5Config,
  record(g, w, config, { batch, length, padded }) {
    const ids = g.input('ids', [batch, length], { dtype: 'u32' });
    const buckets = g.input('buckets', [2 * length - 1], { dtype: 'u32' });
    const padding = padded ? g.input('padding', [batch, length]) : undefined;
    g.output('out', denseRows(t5Encoder(config, w, { ids, buckets, padding })));
  },
  probes: () => [{ batch: 1, length: 1, padded: false }],
  // One table under up to three names.
  rename: (key) => (key === 'encoder.embed_tokens.weight' ? [key, 'shared.weight'] : key),
  ignorable: [/^encoder\.embed_tokens\.weight$/, /^decoder\./, /^lm_head\.weight$/],
};

/** T5's encoder on a device. Raffel et al. 2020. */
export class T5EncoderModel extends Network<T5Config, T5Call> {
  /**
   * Loads `config.json` and the weights beside it, in shards or not.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<T5EncoderModel> {
    return new T5EncoderModel(await LoadedModel.load(device, source, t5Definition, options));
  }

  /**
   * inputIds [B,T] of any length → states [B,T,D], normed, valid until the next call.
   * @throws InvalidArgumentError for ids or a shape that do not fit, or after {@link dispose}; LimitError,
   * OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost device leave it usable.
   */
  async forward(options: TextInput & RunOptions): Promise<{ lastHiddenState: ModelOutput }> {
    const { inputIds, attentionMask, ...runOptions } = options;
    const { batch, length } = checkTokens('T5EncoderModel', options, this.config.vocabSize);
    const inputs = {
      ids: Uint32Array.from(inputIds.data),
      buckets: relativeBuckets(length, this.config),
      ...(attentionMask && { padding: Float32Array.from(attentionMask.data, (m) => (m === 0 ? HIDDEN : 0)) }),
    };
    const call = { batch, length, padded: attentionMask !== undefined };
    return { lastHiddenState: await this.model.run(call, inputs, runOptions) };
  }
}

/** Every key and shape that a checkpoint of this config must have; allocates nothing. */
export function t5Weights(config: T5Config): ReadonlyMap<string, readonly number[]> {
  return weightsOf(t5Definition, config);
}

/** What a call takes at the limits that every adapter has. @throws LimitError */
export function planT5(config: T5Config, call: T5Call, dtype: 'f32' | 'f16' = 'f32', caps?: Capabilities): Report {
  return planModel(t5Definition, config, call, dtype, caps);
}
