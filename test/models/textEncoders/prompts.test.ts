/** Prompts through tokenizer and text model. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ConfigError, InvalidArgumentError } from '../../../src/engine/index.ts';
import { Tokenizer, type TruncationWarning } from '../../../src/loading/tokenizers/tokenizer.ts';
import { encodeClipPrompts } from '../../../src/models/textEncoders/clipPrompts.ts';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../../src/models/textEncoders/clipTextModel.ts';
import { encodeSdxlPrompts } from '../../../src/models/textEncoders/sdxlPrompts.ts';
import { T5EncoderModel } from '../../../src/models/textEncoders/t5EncoderModel.ts';
import { encodeT5Prompts } from '../../../src/models/textEncoders/t5Prompts.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import { f32 } from '../../loading/files.ts';
import { expectClose, networkTolerance } from '../../support/close.ts';
import { adapters } from '../../support/gpu.ts';
import { normals } from '../../support/random.ts';
import { changed, failure, fixture, fixturesPath } from '../fixtures.ts';
import { openDevice } from '../../support/runGraph.ts';

const device = await openDevice(adapters()[0]);
const tokenizer = await Tokenizer.open(pathDirectory(join(fixturesPath, 'tokenizers/clip')));

/** A recorded text model with tables for as many tokens and places as the tokenizer has. */
const widened = (name: string, D: number) =>
  changed(
    name,
    {
      config: (json) => Object.assign(json, { vocab_size: tokenizer.vocabSize, max_position_embeddings: 16 }),
      weights: (tensors) => {
        const table = (rows: number, seed: number) => f32([rows, D], normals(seed, rows * D));
        tensors['text_model.embeddings.token_embedding.weight'] = table(tokenizer.vocabSize, 1);
        tensors['text_model.embeddings.position_embedding.weight'] = table(16, 2);
      },
    },
    'model.safetensors',
  );
const folder = await widened('clip_text', 32);

test('states of a batch, with layers left out, and what was cut', async () => {
  const model = await CLIPTextModel.load(device, folder);
  const warnings: TruncationWarning[] = [];
  const long = 'smiling face with heart eyes, oil painting of a city at night in the rain';
  const both = await encodeClipPrompts(tokenizer, model, ['a red heart', long], { onWarning: (w) => warnings.push(w) });
  expect(both.shape).toEqual([2, 12, 32]);
  expect(warnings.map(({ index }) => index)).toEqual([1]);
  const { inputIds } = tokenizer.encode('a red heart');
  const whole = await model.forward({ inputIds, normedHiddenStates: [-2] });
  const [last, before] = [await whole.lastHiddenState.read(), await whole.normedHiddenStates[0].read()];
  expectClose(both.data.subarray(0, last.length), last, networkTolerance('f32', 16, 8));
  expect((await encodeClipPrompts(tokenizer, model, 'a red heart', { clipSkip: 1 })).data).toEqual(before);
  const none = await failure(encodeClipPrompts(tokenizer, model, 'a', { clipSkip: 3 }));
  expect(none).toBeInstanceOf(InvalidArgumentError);
  model.dispose();
});

test('SDXL: both text models side by side, the vector of the second', async () => {
  const first = { tokenizer, model: await CLIPTextModel.load(device, folder) };
  const two = await widened('clip_text_projection', 24);
  const second = { tokenizer, model: await CLIPTextModelWithProjection.load(device, two) };
  const prompts = ['a red heart', 'two cats'];
  const both = await encodeSdxlPrompts(first, second, prompts);
  expect(both.promptEmbeds.shape).toEqual([2, 12, 32 + 24]);
  expect(both.pooledPromptEmbeds.shape).toEqual([2, 20]);
  const { inputIds } = tokenizer.encode(prompts);
  const left = (await first.model.hidden({ inputIds, hiddenStates: [-2] })).hiddenStates[0];
  const leftData = await left.read();
  const right = await second.model.forward({ inputIds, hiddenStates: [-2] });
  const rightData = await right.hiddenStates[0].read();
  expect(both.promptEmbeds.data.subarray(56, 56 + 32)).toEqual(leftData.subarray(32, 64));
  expect(both.promptEmbeds.data.subarray(23 * 56 + 32)).toEqual(rightData.subarray(23 * 24));
  expect(both.pooledPromptEmbeds.data).toEqual(await right.textEmbeds.read());
  const refiner = await encodeSdxlPrompts(undefined, second, prompts);
  expect(refiner.promptEmbeds.shape).toEqual([2, 12, 24]);
  const uneven = await failure(encodeSdxlPrompts(first, second, prompts, { prompts2: 'one' }));
  expect(uneven).toBeInstanceOf(InvalidArgumentError);
  for (const { model } of [first, second]) model.dispose();
});

test('T5: padding looked at, or not', async () => {
  const t5 = await Tokenizer.open(pathDirectory(join(fixturesPath, 'tokenizers/t5')));
  const wide = await changed(
    't5_encoder',
    {
      config: (json) => (json['vocab_size'] = t5.vocabSize),
      weights: (tensors) => (tensors['shared.weight'] = f32([t5.vocabSize, 24], normals(1, t5.vocabSize * 24))),
    },
    'model.safetensors',
  );
  const model = await T5EncoderModel.load(device, wide);
  const [short, long] = [8, 14];
  const alone = await encodeT5Prompts(t5, model, 'a red heart', { maxSequenceLength: short });
  expect(alone.shape).toEqual([1, 8, 24]);
  expect([...alone.attentionMask.data]).toEqual(Array(8).fill(1));
  const hidden = await encodeT5Prompts(t5, model, 'a red heart', { maxSequenceLength: long, maskPadding: true });
  expectClose(hidden.data.subarray(0, 8 * 24), alone.data, networkTolerance('f32', 16, 8));
  const seen = await encodeT5Prompts(t5, model, 'a red heart', { maxSequenceLength: long });
  expect(seen.data.subarray(0, 24)).not.toEqual(hidden.data.subarray(0, 24));
  model.dispose();
  const other = await T5EncoderModel.load(device, fixture('t5_encoder'));
  expect(await failure(encodeT5Prompts(t5, other, 'a'))).toBeInstanceOf(ConfigError);
  other.dispose();
});

test('a tokenizer of another model', async () => {
  const model = await CLIPTextModel.load(device, fixture('clip_text'));
  const error = await failure(encodeClipPrompts(tokenizer, model, 'a'));
  expect(error).toBeInstanceOf(ConfigError);
  expect(error.message).toMatch(/at most the 60 tokens of the text encoder, got 678/);
  model.dispose();
});
