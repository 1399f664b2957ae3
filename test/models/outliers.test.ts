/**
 * Sums over the layers that no half can hold, as the autoencoders of Stable Diffusion make them: stored in halves as
 * they are they end in black pictures. Here they end in the picture, as close to f32 as halves come.
 */
import { afterAll, describe, expect, test } from 'vitest';
import { Device } from '../../src/engine/index.ts';
import { AutoencoderKL } from '../../src/models/index.ts';
import type { Directory } from '../../src/loading/index.ts';
import { F16_PIPELINE } from '../support/close.ts';
import { adapters, getGpu } from '../support/gpu.ts';
import { normals } from '../support/random.ts';
import { changed } from './fixtures.ts';

/** Gains of what starts the sum and of what adds to it: it reaches 6·10⁴ and more behind the first layers. */
const GAIN = 4e4;
const GROWING = /(conv_in|resnets\.\d\.conv2|attentions\.0\.to_out\.0)\.(weight|bias)$/;
/** Its values are what grows, so its bias has to keep up with them. */
const CARRYING = /(downsamplers|upsamplers)\.0\.conv\.bias$|conv_shortcut\.bias$/;

const latent = { data: normals(2, 4 * 6 * 6), shape: [1, 4, 6, 6] };
const image = { data: normals(1, 3 * 12 * 12), shape: [1, 3, 12, 12] };

const source = (upcast: boolean): Promise<Directory> =>
  changed('vae_kl_sd', {
    config: (config) => (config.force_upcast = upcast),
    weights: (tensors) => {
      for (const [key, tensor] of Object.entries(tensors)) {
        if (!GROWING.test(key) && !CARRYING.test(key)) continue;
        const values = new Float32Array(tensor.bytes.slice().buffer);
        tensor.bytes = new Uint8Array(values.map((v) => v * GAIN).buffer);
      }
    },
  });

/** Picture and mean latents. */
async function outputs(device: Device, upcast: boolean, dtype: 'f32' | 'f16') {
  const model = await AutoencoderKL.load(device, await source(upcast), { dtype });
  const picture = await (await model.decode({ latent })).read();
  const moments = await (await model.encode({ image })).read();
  model.dispose();
  return { picture, moments };
}

const norm = (x: Float32Array) => Math.hypot(...x);

describe.each(adapters())('outliers on %s', (adapter) => {
  describe.each(adapter === 'swiftshader' ? ['packed'] : ['f16', 'packed'])('halves: %s', (form) => {
    let device: Device | undefined;
    afterAll(() => device?.dispose());

    test('an autoencoder whose sums overflow halves', async () => {
      const without = form === 'packed' ? (['shader-f16'] as const) : [];
      device = await Device.open({ gpu: await getGpu(adapter), without: [...without] });
      const want = await outputs(device, true, 'f32');
      const got = await outputs(device, true, 'f16');
      for (const part of ['picture', 'moments'] as const) {
        expect(want[part].every(Number.isFinite), part).toBe(true);
        const error = norm(got[part].map((v, i) => v - want[part][i])) / norm(want[part]);
        expect(error, part).toBeLessThan(F16_PIPELINE);
      }
      // Stored as they are, the same sums are lost: the test tests something.
      const naive = await outputs(device, false, 'f16');
      expect(naive.picture.every(Number.isFinite)).toBe(false);
      expect(naive.moments.every(Number.isFinite)).toBe(false);
    });
  });
});
