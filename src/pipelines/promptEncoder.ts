/** From prompts to the text states that a network attends to, once for a run. */
import { formatShape, InvalidArgumentError, numel } from '../engine/index.ts';
import type { TensorInput } from '../models/index.ts';
import type { TextToImageOptions } from './textToImage.ts';

/** Text states on the host, [N,S,E]. */
export interface TextStates {
  data: Float32Array;
  shape: readonly [number, number, number];
}

/** Prompts → states. @throws InvalidArgumentError, AbortedError, DeviceLostError */
export type PromptEncoder = (
  prompts: readonly string[],
  options: Pick<TextToImageOptions, 'clipSkip' | 'signal' | 'onWarning'>,
) => Promise<TextStates>;

/** What a run attends to, for each of its pictures. */
export interface Conditions {
  text: TextStates;
  /** Without guidance there is none. */
  negative: TextStates | undefined;
}

/**
 * States of all pictures of a call, prompts or embeddings, several pictures of one prompt behind each other.
 * @param encode undefined for a folder without text encoder
 * @throws InvalidArgumentError where neither or both are given, or numbers and shapes do not fit
 */
export async function conditionsOf(
  options: TextToImageOptions,
  encode: PromptEncoder | undefined,
  guided: boolean,
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
  const ask = (texts: readonly string[]) => {
    if (encode) return encode(texts, options);
    throw new InvalidArgumentError(
      'generate: expected promptEmbeds and negativePromptEmbeds, got prompts, and this folder has no text encoder',
    );
  };
  const given = promptEmbeds ? statesOf('promptEmbeds', promptEmbeds) : await ask(listOf('prompt', prompt!));
  const N = given.shape[0];
  const text = repeated(given, numImagesPerPrompt);
  if (!guided) return { text, negative: undefined };
  if (negativePromptEmbeds) {
    const negative = oneOrAll('negativePromptEmbeds', statesOf('negativePromptEmbeds', negativePromptEmbeds), N);
    if (negative.shape[1] !== given.shape[1] || negative.shape[2] !== given.shape[2]) {
      throw new InvalidArgumentError(
        `generate: expected negativePromptEmbeds of the shape of promptEmbeds ${formatShape(given.shape)}, got ` +
          formatShape(negative.shape),
      );
    }
    return { text, negative: repeated(negative, numImagesPerPrompt) };
  }
  const texts = listOf('negativePrompt', negativePrompt ?? '');
  return { text, negative: repeated(oneOrAll('negativePrompt', await ask(texts), N), numImagesPerPrompt) };
}

function listOf(name: string, texts: string | readonly string[]): readonly string[] {
  const list = typeof texts === 'string' ? [texts] : texts;
  if (list.length > 0 && list.every((t) => typeof t === 'string')) return list;
  throw new InvalidArgumentError(`generate: expected ${name} to be a text or texts, got ${JSON.stringify(texts)}`);
}

function statesOf(name: string, { data, shape }: TensorInput): TextStates {
  if (shape.length !== 3 || !(data instanceof Float32Array) || data.length !== numel(shape)) {
    throw new InvalidArgumentError(`generate: expected ${name} [N,S,E] on the host, got ${formatShape(shape)}`);
  }
  return { data, shape: [shape[0], shape[1], shape[2]] };
}

function oneOrAll(name: string, states: TextStates, N: number): TextStates {
  const [n, S, E] = states.shape;
  if (n === N) return states;
  if (n !== 1) throw new InvalidArgumentError(`generate: expected 1 or ${N} of ${name}, got ${n}`);
  const data = new Float32Array(N * S * E);
  for (let i = 0; i < N; i++) data.set(states.data, i * S * E);
  return { data, shape: [N, S, E] };
}

/** Each item `times` times in a row. */
function repeated({ data, shape }: TextStates, times: number): TextStates {
  if (times === 1) return { data, shape };
  const [N, S, E] = shape;
  const out = new Float32Array(N * times * S * E);
  for (let i = 0; i < N * times; i++) {
    const from = Math.floor(i / times) * S * E;
    out.set(data.subarray(from, from + S * E), i * S * E);
  }
  return { data: out, shape: [N * times, S, E] };
}
