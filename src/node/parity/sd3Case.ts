/** Parity of Stable Diffusion 3's transformer: one call with recorded inputs. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { SD3Transformer } from '../../models/transformers/sd3Model.ts';
import { Recording } from './recording.ts';

/** @returns the largest absolute difference of the output. */
export async function runSD3Case(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await SD3Transformer.load(device, folder, { dtype });
  try {
    const out = await model.forward({
      sample: await io.tensor('in.hidden_states'),
      timestep: await io.numbers('in.timestep'),
      encoderHiddenStates: await io.tensor('in.encoder_hidden_states'),
      pooledProjections: await io.tensor('in.pooled_projections'),
    });
    return await io.worst({ out: { shape: out.shape, data: await out.read() } });
  } finally {
    model.dispose();
    await io.close();
  }
}
