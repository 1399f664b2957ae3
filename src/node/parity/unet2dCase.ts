/** Parity of `UNet2DModel`: one call with recorded inputs. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { UNet2D } from '../../models/index.ts';
import { Recording } from './recording.ts';

/** @returns the largest absolute difference of the output. */
export async function runUNet2DCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await UNet2D.load(device, folder, { dtype });
  try {
    const timesteps = await io.numbers('in.timestep');
    const out = await model.forward({
      sample: await io.tensor('in.sample'),
      timestep: timesteps.length === 1 ? timesteps[0] : timesteps,
      classLabels: io.has('in.class_labels') ? await io.numbers('in.class_labels') : undefined,
    });
    return await io.worst({ out: { shape: out.shape, data: await out.read() } });
  } finally {
    model.dispose();
    await io.close();
  }
}
