/** VQ-VAE-2 with tiny priors as its authors' files: a recorded autoencoder, and priors with seeded weights. */
import { readFileSync } from 'node:fs';
import type { RawConfig } from '../../../src/loading/index.ts';
import { weightsOf } from '../../../src/models/loadedModel.ts';
import { pixelSnailDefinition } from '../../../src/models/pixelSnail/pixelSnailModel.ts';
import { f32, file } from '../../loading/files.ts';
import { fixturesPath } from '../../models/fixtures.ts';
import { seededWeights, type Files } from '../tinyModels.ts';

export const VQVAE = 'vqvae_560.safetensors';
export const TOP = 'pixelsnail_top_420.safetensors';
export const BOTTOM = 'pixelsnail_bottom_300.safetensors';

/** What a bottom prior has that a top one has not. */
export const CONDITIONED = { attention: false, n_cond_res_block: 1, cond_res_channel: 6, n_out_res_block: 1 };

/** A prior over a map of `n` codes. */
export function prior(
  shape: readonly number[],
  n: number,
  seed: number,
  changes: RawConfig = {},
): { config: RawConfig; bytes: Uint8Array } {
  const config = {
    _class_name: 'PixelSNAIL',
    shape: [...shape],
    n_class: n,
    channel: 16,
    kernel_size: 3,
    n_block: 1,
    n_res_block: 1,
    res_channel: 8,
    ...changes,
  };
  const wanted = weightsOf(pixelSnailDefinition, pixelSnailDefinition.readConfig(config));
  // Sharp, so that codes depend on what came before; lengths of weight-normed layers are gains.
  const tensors = seededWeights(wanted, seed);
  for (const [key, dims] of wanted) {
    if (!key.endsWith('weight_g')) continue;
    tensors[key] = f32([...dims], new Float32Array(dims[0]).fill(key.startsWith('out.') ? 6 : 1.5));
  }
  return { config, bytes: file(tensors) };
}

/** Pictures of 16×16: 2×2 codes above 4×4, of 24 each. */
export const twoLevelFiles = (): Files => ({
  [VQVAE]: Uint8Array.from(readFileSync(`${fixturesPath}/original/j-vqvae2/weights.safetensors`)),
  [TOP]: prior([2, 2], 24, 5).bytes,
  [BOTTOM]: prior([4, 4], 24, 9, CONDITIONED).bytes,
});
