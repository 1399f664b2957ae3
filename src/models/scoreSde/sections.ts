/** Configs in sections, and activations, as score_sde and NCSNv2 write them. */
import { ConfigError, type Tensor } from '../../engine/index.ts';
import { add, unary, type Activation } from '../../kernels/index.ts';
import { ConfigReader, type RawConfig } from '../../loading/index.ts';

/** Activations by the names of the configs. */
export const NONLINEARITIES = ['swish', 'elu', 'relu', 'lrelu'] as const;
/** One of {@link NONLINEARITIES}. */
export type Nonlinearity = (typeof NONLINEARITIES)[number];

/** A section of a config. @throws ConfigError where there is none */
export function section(raw: RawConfig, className: string, name: string): ConfigReader {
  const value: unknown = Object.hasOwn(raw, name) ? raw[name] : undefined;
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return new ConfigReader(value as RawConfig, `${className} ${name}`);
  throw new ConfigError(`${className} config: expected a section ${name}, got ${typeof value}; add it`, name);
}

/** Reads `nonlinearity`, in any case. @throws ConfigError for a name that is not built */
export function readNonlinearity(cfg: ConfigReader): Nonlinearity {
  const name = cfg.string('nonlinearity').toLowerCase();
  return NONLINEARITIES.find((v) => v === name) ?? cfg.refuse('nonlinearity', NONLINEARITIES.join(' or '));
}

/** What a layer can do itself; `lrelu` is left to {@link activated}. */
export function fusedActivation(act: Nonlinearity): Activation {
  if (act === 'lrelu') return 'none';
  return act === 'swish' ? 'silu' : act;
}

/** The rest of an activation behind a layer that was given {@link fusedActivation}. */
export function activated(x: Tensor, act: Nonlinearity): Tensor {
  if (act !== 'lrelu') return x;
  return add(unary(x, { act: 'relu' }), x, { alpha: 0.8, beta: 0.2 }); // slope 0.2 below 0
}

/** The whole activation. */
export const activate = (x: Tensor, act: Nonlinearity): Tensor =>
  activated(act === 'lrelu' ? x : unary(x, { act: fusedActivation(act) }), act);
