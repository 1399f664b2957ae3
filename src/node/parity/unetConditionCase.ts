/** Parity of `UNet2DConditionModel` and `ControlNetModel`: one call with recorded inputs. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import type { ModelOutput } from '../../models/index.ts';
import { ControlNet } from '../../models/controlNet/controlNetModel.ts';
import type { ConditionArguments } from '../../models/unetCondition/conditionInputs.ts';
import type { ObjectInputs } from '../../models/unetCondition/objects.ts';
import { UNet2DCondition } from '../../models/unetCondition/unetConditionModel.ts';
import { Recording } from './recording.ts';

/**
 * @param weights the folder that holds config and weights, where the case has none of its own.
 * @returns the largest absolute difference of the output.
 */
export async function runUNetConditionCase(
  device: Device,
  folder: Directory,
  dtype: 'f32' | 'f16',
  weights: Directory = folder,
): Promise<number> {
  const io = await Recording.open(folder);
  const model = await UNet2DCondition.load(device, weights, { dtype });
  try {
    const down = await list(io, 'in.down_res');
    const mid = await optional(io, 'in.mid_res');
    const out = await model.forward({
      ...(await conditions(io)),
      sample: await io.tensor('in.sample'),
      // As the reference takes them: alone, the residuals of the way down are those of an adapter.
      controls: down && mid ? { down, mid } : undefined,
      downIntrablockAdditionalResiduals: (await list(io, 'in.down_intrablock_res')) ?? (mid ? undefined : down),
    });
    return await io.worst({ out: await values(out) });
  } finally {
    model.dispose();
    await io.close();
  }
}

/** @returns the largest absolute difference of all residuals. */
export async function runControlNetCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await ControlNet.load(device, folder, { dtype });
  try {
    const { down, mid } = await model.forward({
      ...(await conditions(io)),
      sample: await io.tensor('in.sample'),
      controlnetCond: await io.tensor('in.controlnet_cond'),
      conditioningScale: io.has('in.conditioning_scale') ? (await io.numbers('in.conditioning_scale'))[0] : undefined,
      guessMode: io.has('in.guess_mode') && (await io.numbers('in.guess_mode'))[0] !== 0,
    });
    const got: Record<string, Awaited<ReturnType<typeof values>>> = { mid_res: await values(mid) };
    for (const [i, residual] of down.entries()) got[`down_res.${i}`] = await values(residual);
    return await io.worst(got);
  } finally {
    model.dispose();
    await io.close();
  }
}

/** What both models are conditioned by. */
async function conditions(io: Recording): Promise<ConditionArguments> {
  const timesteps = await io.numbers('in.timestep');
  return {
    timestep: timesteps.length === 1 ? timesteps[0] : timesteps,
    encoderHiddenStates: await optional(io, 'in.encoder_hidden_states'),
    classLabels: await optional(io, 'in.class_labels'),
    timestepCond: await optional(io, 'in.timestep_cond'),
    encoderAttentionMask: await optional(io, 'in.attention_mask'),
    attentionMask: await optional(io, 'in.pixel_attention_mask'),
    addedCondKwargs: {
      textEmbeds: await optional(io, 'in.text_embeds'),
      timeIds: await optional(io, 'in.time_ids'),
      imageEmbeds: await optional(io, 'in.image_embeds'),
      hint: await optional(io, 'in.hint'),
    },
    crossAttentionKwargs: io.has('in.gligen.boxes') ? { gligen: await objects(io) } : undefined,
  };
}

/** What GLIGEN is to place. */
async function objects(io: Recording): Promise<ObjectInputs> {
  return {
    boxes: await io.tensor('in.gligen.boxes'),
    masks: await io.tensor('in.gligen.masks'),
    positiveEmbeddings: await optional(io, 'in.gligen.positive_embeddings'),
    phrasesEmbeddings: await optional(io, 'in.gligen.phrases_embeddings'),
    phrasesMasks: await optional(io, 'in.gligen.phrases_masks'),
    imageEmbeddings: await optional(io, 'in.gligen.image_embeddings'),
    imageMasks: await optional(io, 'in.gligen.image_masks'),
  };
}

async function optional(io: Recording, key: string) {
  return io.has(key) ? io.tensor(key) : undefined;
}

/** `KEY.0`, `KEY.1` … */
async function list(io: Recording, key: string) {
  const tensors = [];
  for (let i = 0; io.has(`${key}.${i}`); i++) tensors.push(await io.tensor(`${key}.${i}`));
  return tensors.length > 0 ? tensors : undefined;
}

async function values(out: ModelOutput) {
  return { shape: out.shape, data: await out.read() };
}
