/** `PriorTransformer` on a device: load it once, call it with any batch. */
import { InvalidArgumentError, type Device, type Graph } from '../../engine/index.ts';
import { LoadedModel, type ModelDefinition } from '../loadedModel.ts';
import type { ModelOutput, RunOptions, TensorInput } from '../modelRuntime.ts';
import { Network } from '../network.ts';
import type { LoadOptions, ModelSource } from '../modelSource.ts';
import { sinusoidalEmbedding } from '../timestep.ts';
import type { WeightScope } from '../weightScope.ts';
import { perItem, shapeOf } from './inputs.ts';
import { paddedRows } from './positions.ts';
import { prior } from './prior.ts';
import { readPriorConfig, type PriorConfig } from './priorConfig.ts';

/** One evaluation of the network. */
export interface PriorCall extends RunOptions {
  /** The noisy embedding [B,embeddingDim], or several per item [B,N,embeddingDim]. */
  hiddenStates: TensorInput;
  /** One for the batch, or one per item: a training timestep. */
  timestep: number | readonly number[];
  /** The pooled condition [B,embeddingProjDim], or several [B,P,embeddingProjDim]. */
  projEmbedding: TensorInput;
  /** Tokens of the text [B,S,embeddingDim]; may be left out where the config does not project them. */
  encoderHiddenStates?: TensorInput;
  /** [B,S], 1 for tokens to look at and 0 for padding; with it, tokens only look back. */
  attentionMask?: ArrayLike<number>;
}

/** Batch of a call, and tokens of each kind. */
export interface PriorShape {
  batch: number;
  /** 0 without text. */
  textTokens: number;
  conditionTokens: number;
  hiddenTokens: number;
  masked: boolean;
}

const WHERE = 'PriorTransformer';

/** What masked tokens get in place of −∞; a token that is both padding and ahead gets it twice. */
const MASKED = -10000;

/** Its weights and recordings. */
export const priorDefinition: ModelDefinition<PriorConfig, PriorShape> = {
  className: WHERE,
  readConfig: readPriorConfig,
  record,
  probes: ({ projectsText }) => [
    { batch: 1, textTokens: projectsText ? 1 : 0, conditionTokens: 1, hiddenTokens: 1, masked: false },
  ],
  // Some versions of the library stored the mask that it computes.
  ignorable: [/^causal_attention_mask$/],
  hostWeights: ({ prdToken }) => [
    'positional_embedding',
    'clip_mean',
    'clip_std',
    ...(prdToken ? ['prd_embedding'] : []),
  ],
};

/** Tokens of one item. */
const lengthOf = ({ prdToken }: PriorConfig, s: PriorShape) =>
  s.textTokens + s.conditionTokens + 1 + s.hiddenTokens + (prdToken ? 1 : 0);

function record(g: Graph, w: WeightScope, config: PriorConfig, shape: PriorShape): void {
  const { batch: B, textTokens: S, conditionTokens, hiddenTokens, masked } = shape;
  const { heads, headDim, embeddingDim, embeddingProjDim, prdToken, clipEmbedDim, projectsText } = config;
  const D = heads * headDim;
  const T = lengthOf(config, shape);
  w.param('positional_embedding', [1, config.numEmbeddings + config.additionalEmbeddings, D]);
  if (prdToken) w.param('prd_embedding', [1, 1, D]);
  for (const name of ['clip_mean', 'clip_std']) w.param(name, [1, clipEmbedDim]);
  const out = prior(config, w, {
    hidden: g.input('hidden', [B, hiddenTokens, embeddingDim]),
    condition: g.input('condition', [B, conditionTokens, embeddingProjDim]),
    text: S > 0 ? g.input('text', [B, S, projectsText ? embeddingDim : D]) : undefined,
    timestep: g.input('timestep', [B, D]),
    positions: g.input('positions', [T, 4 * Math.ceil(D / 4)]),
    prd: prdToken ? g.input('prd', [B, 1, D]) : undefined,
    mask: masked ? g.input('mask', [B, T, T]) : undefined,
  });
  g.output('out', out);
}

/** unCLIP's prior on a device: the clean embedding from a noisy one, text and timestep. Ramesh et al. 2022. */
export class PriorTransformer extends Network<PriorConfig, PriorShape> {
  /**
   * Loads `config.json` and the weights beside it.
   * @throws ConfigError, WeightError naming keys, FormatError, NotFoundError, OutOfMemoryError, AbortedError; what had
   * been allocated is released.
   */
  static async load(device: Device, source: ModelSource, options: LoadOptions = {}): Promise<PriorTransformer> {
    return new PriorTransformer(await LoadedModel.load(device, source, priorDefinition, options));
  }

  /**
   * Predicts from a noisy embedding, one call at a time. Result [B,clipEmbedDim], or [B,N,clipEmbedDim] for a config
   * without the learned token, valid until the next call.
   * @throws InvalidArgumentError, ShapeError for inputs that do not fit, or after {@link dispose}; LimitError where the
   * size does not fit the device; OutOfMemoryError, DeviceLostError, NonFiniteError, AbortedError; all but a lost
   * device leave it usable.
   */
  async forward(call: PriorCall): Promise<ModelOutput> {
    const { heads, headDim, embeddingDim, embeddingProjDim, projectsText, prdToken } = this.config;
    const D = heads * headDim;
    const { hiddenStates: hidden, projEmbedding: condition, encoderHiddenStates: text, attentionMask } = call;
    const [batch, hiddenTokens] = tokensOf('hiddenStates', hidden, embeddingDim);
    const [, conditionTokens] = tokensOf('projEmbedding', condition, embeddingProjDim, batch);
    if (projectsText && !text) {
      throw new InvalidArgumentError(`${WHERE}: expected encoderHiddenStates, which the config projects, got none`);
    }
    const width = projectsText ? embeddingDim : D;
    const textTokens = text ? shapeOf(WHERE, 'encoderHiddenStates', text, [batch, 'S', width])[1] : 0;
    const shape = { batch, textTokens, conditionTokens, hiddenTokens, masked: attentionMask !== undefined };
    const timesteps = perItem(WHERE, 'timestep', call.timestep, batch);
    const out = await this.model.run(
      shape,
      {
        hidden: hidden.data,
        condition: condition.data,
        timestep: sinusoidalEmbedding(timesteps, D, { flipSinToCos: true, freqShift: 0 }),
        positions: paddedRows(this.positions(shape), D),
        ...(text && { text: text.data }),
        ...(prdToken && { prd: repeated(this.model.hostWeight('prd_embedding'), batch) }),
        ...(attentionMask && { mask: this.mask(attentionMask, shape) }),
      },
      call,
    );
    const [B, , C] = out.shape;
    return prdToken ? { ...out, shape: [B, C] } : out;
  }

  /** Embeddings [B,clipEmbedDim] on the scale that the decoder takes: embedding·clip_std + clip_mean. */
  postProcess(embeddings: ArrayLike<number>): Float32Array {
    const [mean, std] = ['clip_mean', 'clip_std'].map((key) => this.model.hostWeight(key));
    const f = Math.fround;
    return Float32Array.from({ length: embeddings.length }, (_, i) => {
      const c = i % mean.length;
      return f(embeddings[i] * std[c]) + mean[c];
    });
  }

  /** A table for fewer tokens is that of what is denoised; the other tokens have none. */
  private positions(shape: PriorShape): Float32Array {
    const { heads, headDim, prdToken, numEmbeddings, additionalEmbeddings } = this.config;
    const D = heads * headDim;
    const table = this.model.hostWeight('positional_embedding');
    const T = lengthOf(this.config, shape);
    const stored = numEmbeddings + additionalEmbeddings;
    if (stored === T) return table;
    const before = shape.textTokens + shape.conditionTokens + 1;
    if (before + stored + (prdToken ? 1 : 0) !== T) {
      throw new InvalidArgumentError(
        `${WHERE}: expected ${stored} tokens in all, or ${stored} in hiddenStates, for as many positions; got ${T} ` +
          `and ${shape.hiddenTokens}`,
      );
    }
    const out = new Float32Array(T * D);
    out.set(table, before * D);
    return out;
  }

  /** Scores' additions [B,T,T]: tokens look back only, and not at padding. */
  private mask(keep: ArrayLike<number>, shape: PriorShape): Float32Array {
    const { additionalEmbeddings: more, numEmbeddings } = this.config;
    const { batch: B, textTokens: S } = shape;
    const T = lengthOf(this.config, shape);
    if (keep.length !== B * S || S + more !== T || numEmbeddings + more !== T) {
      throw new InvalidArgumentError(
        `${WHERE}: expected an attentionMask [${B},${numEmbeddings}] for as many tokens of text, got ${keep.length} ` +
          `values for ${S}`,
      );
    }
    const out = new Float32Array(B * T * T);
    for (let b = 0; b < B; b++) {
      for (let t = 0; t < T; t++) {
        for (let s = 0; s < T; s++) {
          const padding = s < S ? (1 - keep[b * S + s]) * MASKED : 0;
          out[(b * T + t) * T + s] = padding + (s > t ? MASKED : 0);
        }
      }
    }
    return out;
  }
}

/** Batch and tokens of [B,C], which is one token, or [B,N,C]. */
function tokensOf(name: string, input: TensorInput, C: number, batch?: number): readonly [number, number] {
  const flat = input.shape.length === 2;
  const form: readonly (string | number)[] = flat ? [batch ?? 'B', C] : [batch ?? 'B', 'N', C];
  const [B, N] = shapeOf(WHERE, name, input, form);
  return [B, flat ? 1 : N];
}

/** The same values for every item. */
function repeated(values: Float32Array, batch: number): Float32Array {
  const out = new Float32Array(batch * values.length);
  for (let b = 0; b < batch; b++) out.set(values, b * values.length);
  return out;
}
