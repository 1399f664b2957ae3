/** Parity of `AutoencoderKL`: a recorded image encoded, its posterior, and a recorded latent decoded. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { AutoencoderKL } from '../../models/index.ts';
import { Recording } from './recording.ts';

/** @returns the largest absolute difference of all outputs. */
export async function runVaeKlCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await AutoencoderKL.load(device, folder, { dtype });
  try {
    const moments = await model.encode({ image: await io.tensor('in.image') });
    const encoded = { shape: moments.shape, data: await moments.read() };
    const posterior = await moments.posterior();
    const { shape } = posterior;
    const sampled = posterior.sample(await io.numbers('in.sample_noise'));
    const image = await model.decode({ latent: await io.tensor('in.latent') });
    return await io.worst({
      moments: encoded,
      mean: { shape, data: posterior.mean },
      std: { shape, data: posterior.std },
      logvar: { shape, data: posterior.logvar },
      sampled: { shape, data: sampled },
      decoded: { shape: image.shape, data: await image.read() },
    });
  } finally {
    model.dispose();
    await io.close();
  }
}
