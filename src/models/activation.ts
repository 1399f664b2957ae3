/** Activation names as configs write them. */
import { ConfigError } from '../engine/index.ts';
import { ACTIVATIONS, type Activation } from '../kernels/index.ts';
import type { ConfigReader } from '../loading/index.ts';

/** What the reference library accepts as `act_fn`, in any case, by our names. */
const NAMES: Readonly<Record<string, string>> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  relu: 'relu',
  mish: 'mish',
};

/** Reads an activation field. @throws ConfigError for a name that is not built. */
export function readActivation(cfg: ConfigReader, field: string, fallback: string): Activation {
  const name = cfg.string(field, fallback);
  const act = NAMES[name.toLowerCase()];
  if (act !== undefined && act in ACTIVATIONS) return act as Activation;
  const known = Object.keys(NAMES).filter((n) => NAMES[n] in ACTIVATIONS);
  throw new ConfigError(
    `${cfg.className} config: expected ${field} to be one of ${known.join(', ')}, got "${name}"; correct the config`,
    field,
  );
}
