import { existsSync } from 'node:fs';
import { type Directory, readConfig } from '../../loading/index.ts';
import { readAutoencoderKLConfig, readUNet2DConfig } from '../../models/index.ts';
import { resolveSource } from '../../pipelines/index.ts';
import { pathDirectory } from '../fileSource.ts';

/** The folder that `--model` names: a path, a URL or a hub name. */
export function modelFolder(model: string): Directory {
  return existsSync(model) || /^[./~]/.test(model) ? pathDirectory(model) : resolveSource(model);
}

/** Shape [1, C, h, w] of the latent of one picture of that size, from the configs of U-Net and autoencoder. */
export async function latentShape(
  model: string,
  { width, height }: { width: number; height: number },
): Promise<[number, number, number, number]> {
  const folder = modelFolder(model);
  const unet = readUNet2DConfig(await readConfig(folder.folder('unet')));
  const vae = readAutoencoderKLConfig(await readConfig(folder.folder('vae')));
  const factor = 2 ** (vae.blockOutChannels.length - 1);
  return [1, unet.inChannels, height / factor, width / factor];
}
