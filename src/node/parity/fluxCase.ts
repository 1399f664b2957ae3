/** Parity of Flux: one call with recorded inputs. */
import type { Device } from '../../engine/index.ts';
import type { Directory } from '../../loading/directory.ts';
import { FluxTransformer } from '../../models/transformers/fluxModel.ts';
import { Recording } from './recording.ts';

/** @returns the largest absolute difference of the output. */
export async function runFluxCase(device: Device, folder: Directory, dtype: 'f32' | 'f16'): Promise<number> {
  const io = await Recording.open(folder);
  const model = await FluxTransformer.load(device, folder, { dtype });
  try {
    const out = await model.forward({
      hiddenStates: await io.tensor('in.hidden_states'),
      timestep: await io.numbers('in.timestep'),
      encoderHiddenStates: await io.tensor('in.encoder_hidden_states'),
      pooledProjections: await io.tensor('in.pooled_projections'),
      guidance: io.has('in.guidance') ? await io.numbers('in.guidance') : undefined,
      imageIds: await positions(io, 'in.img_ids'),
      textIds: await positions(io, 'in.txt_ids'),
    });
    return await io.worst({ out: { shape: out.shape, data: await out.read() } });
  } finally {
    model.dispose();
    await io.close();
  }
}

/** Positions of tokens; of a batch, as older versions of the library took them, those of the first item. */
async function positions(io: Recording, key: string): Promise<Float32Array | undefined> {
  if (!io.has(key)) return undefined;
  const { data, shape } = await io.tensor(key);
  return shape.length === 3 ? data.subarray(0, data.length / shape[0]) : data;
}
