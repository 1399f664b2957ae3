/** Parity of diffusers' DiT: one call with recorded inputs. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { DiT } from '../../models/transformers/ditModel.ts';
import { Recording } from './recording.ts';

/** @returns the largest absolute difference of the output. */
export async function runDiTCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await DiT.load(device, folder, { dtype });
  try {
    const out = await model.forward({
      sample: await io.tensor('in.hidden_states'),
      timestep: await io.numbers('in.timestep'),
      classLabels: await io.numbers('in.class_labels'),
    });
    return await io.worst({ out: { shape: out.shape, data: await out.read() } });
  } finally {
    model.dispose();
    await io.close();
  }
}
