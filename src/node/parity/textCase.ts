/** Parity of text encoders: recorded ids in, all states that the recording has out. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import type { ModelOutput } from '../../models/index.ts';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../../models/textEncoders/clipTextModel.ts';
import { T5EncoderModel } from '../../models/textEncoders/t5EncoderModel.ts';
import type { TextInput } from '../../models/textEncoders/tokenIds.ts';
import { Recording } from './recording.ts';

type Values = Record<string, { data: Float32Array; shape: readonly number[] }>;

/** Reads every output before the next call takes its place. */
async function values(outputs: Record<string, ModelOutput | undefined>): Promise<Values> {
  const read: Values = {};
  for (const [name, out] of Object.entries(outputs)) {
    if (out) read[name] = { shape: out.shape, data: await out.read() };
  }
  return read;
}

async function inputOf(io: Recording): Promise<TextInput> {
  return {
    inputIds: await io.tensor('in.input_ids'),
    attentionMask: io.has('in.attention_mask') ? await io.tensor('in.attention_mask') : undefined,
  };
}

/** `CLIPTextModel`. @returns the largest absolute difference of all outputs. */
export const runClipTextCase = (device: Device, folder: Directory, dtype: 'f32' | 'f16') =>
  runClip(CLIPTextModel, device, folder, dtype);

/** `CLIPTextModelWithProjection`. @returns the largest absolute difference of all outputs. */
export const runClipTextProjectionCase = (device: Device, folder: Directory, dtype: 'f32' | 'f16') =>
  runClip(CLIPTextModelWithProjection, device, folder, dtype);

async function runClip(
  kind: typeof CLIPTextModel | typeof CLIPTextModelWithProjection,
  device: Device,
  folder: Directory,
  dtype: 'f32' | 'f16',
): Promise<number> {
  const io = await Recording.open(folder);
  const model = await kind.load(device, folder, { dtype });
  try {
    const out = await model.forward({ ...(await inputOf(io)), hiddenStates: 'all', normedHiddenStates: [-2] });
    const states = Object.fromEntries(out.hiddenStates.map((state, i) => [`hidden_states.${i}`, state]));
    return await io.worst(
      await values({
        ...states,
        last_hidden_state: out.lastHiddenState,
        pooler_output: out.poolerOutput,
        text_embeds: out.textEmbeds,
        penultimate: out.hiddenStates.at(-2),
        penultimate_final_norm: out.normedHiddenStates[0],
      }),
    );
  } finally {
    model.dispose();
    await io.close();
  }
}

/** `T5EncoderModel`. @returns the largest absolute difference of the output. */
export async function runT5Case(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await T5EncoderModel.load(device, folder, { dtype });
  try {
    const { lastHiddenState } = await model.forward(await inputOf(io));
    return await io.worst(await values({ last_hidden_state: lastHiddenState }));
  } finally {
    model.dispose();
    await io.close();
  }
}
