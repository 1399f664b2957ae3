/** Parity of `VQModel` and `AutoencoderTiny`: a recorded image encoded, recorded latents decoded. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import type { ModelOutput } from '../../models/index.ts';
import { AutoencoderTiny } from '../../models/tiny/autoencoderTinyModel.ts';
import { VQModel } from '../../models/vq/vqModel.ts';
import { Recording } from './recording.ts';

const valuesOf = async (out: ModelOutput) => ({ shape: out.shape, data: await out.read() });

/** @returns the largest absolute difference of all outputs; indices count as numbers, so a wrong one is a whole one. */
export async function runVQCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await VQModel.load(device, folder, { dtype });
  try {
    const latents = await valuesOf(await model.encode({ image: await io.tensor('in.image') }));
    const { indices, quantized } = await model.quantize({ latent: latents });
    const codes = { shape: indices.shape, data: await indices.read() };
    const entries = await valuesOf(quantized);
    const decoded = await valuesOf(await model.decode({ latent: latents }));
    const latent = io.has('in.latent') ? await io.tensor('in.latent') : latents;
    const fromLatent = await valuesOf(await model.decode({ latent }));
    // Without quantising, a model that looks up takes what its own encoder found.
    const asIs = model.config.lookupFromCodebook
      ? await model.decodeIndices({ indices: codes })
      : await model.decode({ latent, forceNotQuantize: true });
    return await io.worst({
      latents,
      indices: io.has('out.indices') ? { ...codes, shape: (await io.tensor('out.indices')).shape } : codes,
      quantized: entries,
      decoded,
      decoded_from_latent: fromLatent,
      decoded_force_not_quantize: await valuesOf(asIs),
    });
  } finally {
    model.dispose();
    await io.close();
  }
}

/** @returns the largest absolute difference of all outputs. */
export async function runVaeTinyCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await AutoencoderTiny.load(device, folder, { dtype });
  try {
    const latents = await valuesOf(await model.encode({ image: await io.tensor('in.image') }));
    const scaled = model.scaleLatents(latents.data);
    return await io.worst({
      latents,
      scaled_latents: { shape: latents.shape, data: scaled },
      unscaled_latents: { shape: latents.shape, data: model.unscaleLatents(scaled) },
      decoded: await valuesOf(await model.decode({ latent: await io.tensor('in.latent') })),
    });
  } finally {
    model.dispose();
    await io.close();
  }
}
