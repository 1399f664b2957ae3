/** How the authors of VQ-VAE-2 in PyTorch name the files of a model, which lie side by side. */

/** What a file holds: the autoencoder, or the prior of a level. */
export type Role = 'vqvae' | 'top' | 'bottom';

/** Names by role; a number of epochs stands behind them. */
export const FILES: Readonly<Record<Role, RegExp>> = {
  vqvae: /^vq_?vae[\w.-]*\.safetensors$/i,
  top: /^(pixelsnail[_-])?top[\w.-]*\.safetensors$/i,
  bottom: /^(pixelsnail[_-])?bottom[\w.-]*\.safetensors$/i,
};

/** All of them, in the order in which they are loaded. */
export const ROLES: readonly Role[] = ['vqvae', 'top', 'bottom'];

/** The same as their scripts save them. */
export const PICKLED = /^(vq_?vae|pixelsnail[_-]|top|bottom)[\w.-]*\.(pt|pth|ckpt|bin)$/i;

/** Whether files side by side are such a model without `model_index.json`: an autoencoder and its top level's prior. */
export function isCodePriorFolder(files: readonly string[]): boolean {
  const has = (role: Role) => files.some((name) => FILES[role].test(name));
  return (has('vqvae') && has('top')) || files.filter((name) => PICKLED.test(name)).length > 1;
}
