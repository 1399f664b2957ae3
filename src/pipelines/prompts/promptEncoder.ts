/** From prompts to the text states that a network attends to, once for a run. */
import { formatShape, InvalidArgumentError, numel } from '../../engine/index.ts';
import type { TensorInput } from '../../models/index.ts';
import type { TextToImageOptions } from '../options/textToImage.ts';

/** Text states on the host, [N,S,E], and for models that read one the vector of each text, [N,P]. */
export interface TextStates {
  data: Float32Array;
  shape: readonly [number, number, number];
  pooled?: { data: Float32Array; shape: readonly [number, number] };
  /** For models that are told which states are text, 1, and which padding, 0: [N,S]. */
  mask?: Float32Array;
}

/** Prompts → states. @throws InvalidArgumentError, AbortedError, DeviceLostError */
export type PromptEncoder = (
  prompts: readonly string[],
  options: Pick<TextToImageOptions, 'clipSkip' | 'maxSequenceLength' | 'signal' | 'onWarning'> & {
    /** What a second text encoder reads, where there is one; default the same. */
    prompts2?: readonly string[];
    /** As `prompts2`, for a third one. */
    prompts3?: readonly string[];
  },
) => Promise<TextStates>;

/** What a kind of pipeline wants of its texts. */
export interface TextNeeds {
  /** Vectors beside the states. */
  pooled?: boolean;
  /** Zeros stand for a negative prompt that was not given. */
  zerosForEmpty?: boolean;
}

/** What a run attends to, for each of its pictures. */
export interface Conditions {
  text: TextStates;
  /** Without guidance there is none. */
  negative: TextStates | undefined;
}

/** Tokens that the transformers which read T5 were trained with at most. */
const LONGEST = 512;
const isLength = (tokens: number) => tokens >= 1 && tokens <= LONGEST;

/**
 * States of all pictures of a call, prompts or embeddings, several pictures of one prompt behind each other.
 * @param encode undefined for a folder without text encoder
 * @throws InvalidArgumentError where neither or both are given, or numbers and shapes do not fit
 */
export async function conditionsOf(
  options: TextToImageOptions,
  encode: PromptEncoder | undefined,
  guided: boolean,
  needs: TextNeeds = {},
): Promise<Conditions> {
  const { prompt, promptEmbeds, negativePrompt, negativePromptEmbeds, numImagesPerPrompt = 1 } = options;
  if ((prompt === undefined) === (promptEmbeds === undefined)) {
    throw new InvalidArgumentError(`generate: expected prompt or promptEmbeds, got ${prompt ? 'both' : 'neither'}`);
  }
  if (negativePrompt !== undefined && negativePromptEmbeds) {
    throw new InvalidArgumentError('generate: expected negativePrompt or negativePromptEmbeds, got both');
  }
  if (!Number.isInteger(numImagesPerPrompt) || numImagesPerPrompt < 1) {
    throw new InvalidArgumentError(`generate: expected numImagesPerPrompt of 1 or more, got ${numImagesPerPrompt}`);
  }
  const { signal, onWarning, clipSkip, maxSequenceLength } = options;
  if (maxSequenceLength !== undefined && !(Number.isInteger(maxSequenceLength) && isLength(maxSequenceLength))) {
    throw new InvalidArgumentError(
      `generate: expected maxSequenceLength to be an integer of 1 … ${LONGEST}, got ${maxSequenceLength}`,
    );
  }
  const ask = (name: 'prompt' | 'negativePrompt', texts: string | readonly string[], skip?: number) => {
    const prompts = listOf(name, texts);
    const [prompts2, prompts3] = ([`${name}2`, `${name}3`] as const).map((other) => {
      const more = options[other];
      return more === undefined ? undefined : oneText(other, listOf(other, more), prompts.length);
    });
    // The reference library leaves no layers out for negative prompts.
    if (encode) return encode(prompts, { signal, onWarning, clipSkip: skip, maxSequenceLength, prompts2, prompts3 });
    throw new InvalidArgumentError(
      'generate: expected promptEmbeds and negativePromptEmbeds, got prompts, and this pipeline has no text encoder, or no ' +
        'tokenizer for it: a checkpoint in one file needs option tokenizer when it is loaded',
    );
  };
  const given = promptEmbeds
    ? statesOf('promptEmbeds', promptEmbeds, 'pooledPromptEmbeds', options.pooledPromptEmbeds, needs)
    : await ask('prompt', prompt!, clipSkip);
  const N = given.shape[0];
  const text = repeated(given, numImagesPerPrompt);
  if (!guided) return { text, negative: undefined };
  if (negativePromptEmbeds) {
    const pooled = options.negativePooledPromptEmbeds;
    const states = statesOf('negativePromptEmbeds', negativePromptEmbeds, 'negativePooledPromptEmbeds', pooled, needs);
    const negative = oneOrAll('negativePromptEmbeds', states, N);
    if (negative.shape[1] !== given.shape[1] || negative.shape[2] !== given.shape[2]) {
      throw new InvalidArgumentError(
        `generate: expected negativePromptEmbeds of the shape of promptEmbeds ${formatShape(given.shape)}, got ` +
          formatShape(negative.shape),
      );
    }
    return { text, negative: repeated(negative, numImagesPerPrompt) };
  }
  if (needs.zerosForEmpty && negativePrompt === undefined) {
    const { pooled } = text;
    const zeros = (data: Float32Array) => new Float32Array(data.length);
    const vector = pooled && { data: zeros(pooled.data), shape: pooled.shape };
    return { text, negative: { data: zeros(text.data), shape: text.shape, pooled: vector } };
  }
  const states = await ask('negativePrompt', negativePrompt ?? '');
  return { text, negative: repeated(oneOrAll('negativePrompt', states, N), numImagesPerPrompt) };
}

/** One text per prompt, from as many or one. */
function oneText(name: string, texts: readonly string[], N: number): readonly string[] {
  if (texts.length === N) return texts;
  if (texts.length === 1) return Array<string>(N).fill(texts[0]);
  throw new InvalidArgumentError(`generate: expected 1 or ${N} of ${name}, got ${texts.length}`);
}

function listOf(name: string, texts: string | readonly string[]): readonly string[] {
  const list = typeof texts === 'string' ? [texts] : texts;
  if (list.length > 0 && list.every((t) => typeof t === 'string')) return list;
  throw new InvalidArgumentError(`generate: expected ${name} to be a text or texts, got ${JSON.stringify(texts)}`);
}

function statesOf(
  name: string,
  { data, shape }: TensorInput,
  pooledName: string,
  vector: TensorInput | undefined,
  { pooled = false }: TextNeeds,
): TextStates {
  if (shape.length !== 3 || !(data instanceof Float32Array) || data.length !== numel(shape)) {
    throw new InvalidArgumentError(`generate: expected ${name} [N,S,E] on the host, got ${formatShape(shape)}`);
  }
  const states = { data, shape: [shape[0], shape[1], shape[2]] } as const;
  if (!pooled) return states;
  const [N, P] = vector?.shape ?? [];
  if (!vector || vector.shape.length !== 2 || N !== shape[0] || !(vector.data instanceof Float32Array)) {
    throw new InvalidArgumentError(
      `generate: expected ${pooledName} [${shape[0]},P] on the host with ${name}, got ` +
        `${vector ? formatShape(vector.shape) : 'none'}; this model also reads one vector per text`,
    );
  }
  if (vector.data.length !== N * P) {
    throw new InvalidArgumentError(
      `generate: expected ${N * P} values of ${pooledName} ${formatShape(vector.shape)}, got ${vector.data.length}`,
    );
  }
  return { ...states, pooled: { data: vector.data, shape: [N, P] } };
}

function oneOrAll(name: string, states: TextStates, N: number): TextStates {
  const n = states.shape[0];
  if (n === N) return states;
  if (n !== 1) throw new InvalidArgumentError(`generate: expected 1 or ${N} of ${name}, got ${n}`);
  return repeated(states, N);
}

function repeated(states: TextStates, times: number): TextStates {
  if (times === 1) return states;
  const { data, shape, pooled, mask } = states;
  const [N, S, E] = shape;
  const vector = pooled && {
    data: repeatedRows(pooled.data, N, times),
    shape: [N * times, pooled.shape[1]] as [number, number],
  };
  return {
    data: repeatedRows(data, N, times),
    shape: [N * times, S, E],
    pooled: vector,
    mask: mask && repeatedRows(mask, N, times),
  };
}

/** Each of N rows `times` times in a row. */
export function repeatedRows(data: Float32Array, N: number, times: number): Float32Array {
  const row = data.length / N;
  const out = new Float32Array(data.length * times);
  for (let i = 0; i < N * times; i++) {
    const from = Math.floor(i / times) * row;
    out.set(data.subarray(from, from + row), i * row);
  }
  return out;
}
