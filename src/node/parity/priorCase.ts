/** Parity of unCLIP's prior: one call with recorded inputs, and the embedding on the decoder's scale. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { PriorTransformer } from '../../models/transformers/priorModel.ts';
import { Recording } from './recording.ts';

/** @returns the largest absolute difference of both outputs. */
export async function runPriorCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await PriorTransformer.load(device, folder, { dtype });
  try {
    const out = await model.forward({
      hiddenStates: await io.tensor('in.hidden_states'),
      timestep: await io.numbers('in.timestep'),
      projEmbedding: await io.tensor('in.proj_embedding'),
      encoderHiddenStates: io.has('in.encoder_hidden_states') ? await io.tensor('in.encoder_hidden_states') : undefined,
      attentionMask: io.has('in.attention_mask') ? await io.numbers('in.attention_mask') : undefined,
    });
    const { shape } = out;
    const data = await out.read();
    return await io.worst({ out: { shape, data }, post_processed: { shape, data: model.postProcess(data) } });
  } finally {
    model.dispose();
    await io.close();
  }
}
