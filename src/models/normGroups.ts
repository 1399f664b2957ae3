/** Groups of norms against the channels that they normalise, told while the config is read. */
import type { ConfigReader } from '../loading/index.ts';

/** Groups where a config leaves them open: four channels each, at most 32 groups. */
export const defaultGroups = (channels: number) => Math.min(Math.floor(channels / 4), 32);

/** Groups of 32 channels, as in k-diffusion's blocks. */
export const groupsOf32 = (channels: number) => Math.floor(channels / 32);

/**
 * Refuses groups that do not divide the channels of a level; null, where blocks choose for themselves, passes.
 * @throws ConfigError naming `field`
 */
export function checkGroups(
  cfg: ConfigReader,
  field: string,
  groups: number | null,
  channels: readonly number[],
): void {
  const odd = groups === null ? undefined : channels.find((C) => C % groups !== 0);
  if (odd !== undefined) cfg.refuse(field, `a divisor of the ${odd} channels that block_out_channels has`);
}

/**
 * Refuses channels that cannot be divided into the groups that blocks choose themselves.
 * @param why names what chooses.
 * @throws ConfigError naming `block_out_channels`
 */
export function checkOwnGroups(
  cfg: ConfigReader,
  groupsOf: (channels: number) => number,
  channels: readonly number[],
  why: string,
): void {
  // No group at all leaves a remainder, too: NaN.
  const odd = channels.find((C) => C % groupsOf(C) !== 0);
  if (odd === undefined) return;
  cfg.refuse('block_out_channels', `multiples of the groups that ${why} have, ${groupsOf(odd)} for ${odd} channels`);
}
