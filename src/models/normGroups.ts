/** Groups of norms against the channels that they normalise, told while the config is read. */
import type { ConfigReader } from '../loading/index.ts';

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
