/** Prompts of the transformers that read CLIP and T5 together: Stable Diffusion 3 and Flux. */
import { ConfigError, type Device } from '../../engine/index.ts';
import type { Directory, ModelIndex } from '../../loading/index.ts';
import { Tokenizer } from '../../loading/tokenizers/tokenizer.ts';
import type { LoadOptions } from '../../models/index.ts';
import { checkTokenizer } from '../../models/textEncoders/clipPrompts.ts';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../models/textEncoders/clipTextModel.ts';
import { T5EncoderModel } from '../../models/textEncoders/t5EncoderModel.ts';
import { encodeT5Prompts } from '../../models/textEncoders/t5Prompts.ts';
import type { Owner, Part } from '../run/basePipeline.ts';
import { adaptable, type PromptModel } from './clipPrompts.ts';
import type { TextStates } from './promptEncoder.ts';

/** Text encoders that belong to their pipeline. */
export type FlowPrompts = Pick<PromptModel, 'encode' | 'texts'>;

/** Tokens of T5 per prompt, untold. */
const SD3_TOKENS = 256;
const FLUX_TOKENS = 512;

/** What a text model and its tokenizer are opened with. */
export interface FlowOpening {
  device: Device;
  directory: Directory;
  load: LoadOptions;
  own: Owner;
}

interface Reader<M extends Part> {
  model: M;
  tokenizer: Tokenizer;
}

/** Whether a folder has a component. */
export const hasPart = ({ components }: ModelIndex, name: string) => (components.get(name)?.className ?? null) !== null;

async function open<M extends Part>(
  { device, directory, load, own }: FlowOpening,
  Model: { load(device: Device, source: Directory, options: LoadOptions): Promise<M> },
  suffix: string,
): Promise<Reader<M>> {
  const tokenizer = await Tokenizer.open(directory.folder(`tokenizer${suffix}`), load);
  return { tokenizer, model: await own(Model.load(device, directory.folder(`text_encoder${suffix}`), load)) };
}

/**
 * Stable Diffusion 3: the states before the last layer of two CLIP text models side by side, and behind them T5's; the
 * two projections as the vector. Without T5 zeros stand for its states. Esser et al. 2024, section 4.
 * @param width of the states that the transformer reads
 * @returns undefined for a folder without CLIP's models
 * @throws as models and tokenizers when they are opened; ConfigError for models of other widths
 */
export async function openSd3Prompts(
  opening: FlowOpening,
  index: ModelIndex,
  width: number,
): Promise<FlowPrompts | undefined> {
  if (!hasPart(index, 'text_encoder') || !hasPart(index, 'text_encoder_2')) return undefined;
  const clips = [
    await open(opening, CLIPTextModelWithProjection, ''),
    await open(opening, CLIPTextModelWithProjection, '_2'),
  ];
  const t5 = hasPart(index, 'text_encoder_3') ? await open(opening, T5EncoderModel, '_3') : undefined;
  for (const { tokenizer, model } of clips) checkTokenizer(tokenizer, model);
  const own = clips.reduce((sum, { model }) => sum + model.config.hiddenSize, 0);
  if (own > width || (t5 && t5.model.config.dModel !== width)) {
    throw new ConfigError(
      `${opening.directory.name}: expected text encoders of at most ${width} channels together, and T5 of ${width}, as the ` +
        `transformer reads, got ${own} and ${t5?.model.config.dModel ?? 'none'}; take all parts from one pipeline`,
      'joint_attention_dim',
    );
  }
  const encode: FlowPrompts['encode'] = async (prompts, options) => {
    const { clipSkip = 0, maxSequenceLength, signal, onWarning, prompts2 = prompts, prompts3 = prompts } = options;
    const B = prompts.length;
    const length = clips[0].tokenizer.maxLength ?? clips[0].model.config.maxLength;
    const none = maxSequenceLength ?? length;
    const tokens = { maxSequenceLength: maxSequenceLength ?? SD3_TOKENS, signal, onWarning };
    const behind = t5
      ? await encodeT5Prompts(t5.tokenizer, t5.model, prompts3, tokens)
      : { data: new Float32Array(B * none * width), shape: [B, none, width] };
    const S = length + behind.shape[1];
    const data = new Float32Array(B * S * width);
    for (let b = 0; b < B; b++) {
      const rows = behind.shape[1] * width;
      data.set(behind.data.subarray(b * rows, (b + 1) * rows), (b * S + length) * width);
    }
    const P = clips.reduce((sum, { model }) => sum + model.config.projectionDim, 0);
    const pooled = new Float32Array(B * P);
    let [column, place] = [0, 0];
    for (const [i, { tokenizer, model }] of clips.entries()) {
      const { inputIds } = tokenizer.encode(i === 0 ? prompts : prompts2, { maxLength: length, onWarning });
      const out = await model.forward({ inputIds, hiddenStates: [-2 - clipSkip], signal });
      const { hiddenSize: D, projectionDim } = model.config;
      // Asked for at once: another call of the model would write over what is not asked for yet.
      const [state, vector] = await Promise.all([out.hiddenStates[0].read(), out.textEmbeds.read()]);
      for (let row = 0; row < B * length; row++) {
        const at = Math.floor(row / length) * S + (row % length);
        data.set(state.subarray(row * D, (row + 1) * D), at * width + column);
      }
      for (let b = 0; b < B; b++) {
        pooled.set(vector.subarray(b * projectionDim, (b + 1) * projectionDim), b * P + place);
      }
      column += D;
      place += projectionDim;
    }
    return { data, shape: [B, S, width], pooled: { data: pooled, shape: [B, P] } } satisfies TextStates;
  };
  return {
    encode,
    texts: [adaptable('text_encoder', clips[0].model), adaptable('text_encoder_2', clips[1].model)],
  };
}

/**
 * Flux: T5's states, and the end state of CLIP as the vector.
 * @returns undefined for a folder without both models
 * @throws as {@link openSd3Prompts}
 */
export async function openFluxPrompts(
  opening: FlowOpening,
  index: ModelIndex,
  width: number,
): Promise<FlowPrompts | undefined> {
  if (!hasPart(index, 'text_encoder') || !hasPart(index, 'text_encoder_2')) return undefined;
  const clip = await open(opening, CLIPTextModel, '');
  const t5 = await open(opening, T5EncoderModel, '_2');
  checkTokenizer(clip.tokenizer, clip.model);
  if (t5.model.config.dModel !== width) {
    throw new ConfigError(
      `${opening.directory.name}: expected T5 of ${width} channels as the transformer reads, got ` +
        `${t5.model.config.dModel}; take all parts from one pipeline`,
      'joint_attention_dim',
    );
  }
  const encode: FlowPrompts['encode'] = async (prompts, options) => {
    const { maxSequenceLength = FLUX_TOKENS, signal, onWarning, prompts2 = prompts } = options;
    const { model, tokenizer } = clip;
    const maxLength = tokenizer.maxLength ?? model.config.maxLength;
    const { inputIds } = tokenizer.encode(prompts, { maxLength, onWarning });
    const vector = await (await model.forward({ inputIds, signal })).poolerOutput.read();
    const states = await encodeT5Prompts(t5.tokenizer, t5.model, prompts2, { maxSequenceLength, signal, onWarning });
    return {
      data: states.data,
      shape: states.shape,
      pooled: { data: vector, shape: [prompts.length, model.config.hiddenSize] },
    };
  };
  return { encode, texts: [adaptable('text_encoder', clip.model)] };
}
