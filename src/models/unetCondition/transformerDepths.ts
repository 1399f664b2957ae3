/** How many transformer blocks follow each ResNet layer: configs give one number, one per level, or one per layer. */
import type { ConfigReader } from '../../loading/index.ts';

const FIELD = 'transformer_layers_per_block';
const REVERSE = 'reverse_transformer_layers_per_block';

/** Blocks of every layer of a level, by level. */
type Depths = readonly (readonly number[])[];

/** The way down and the middle, of levels with `layers` layers. @throws ConfigError naming the field. */
export function readDownDepths(cfg: ConfigReader, layers: readonly number[]): { down: Depths; mid: number } {
  const given = list(cfg, FIELD, layers.length) ?? layers.map(() => 1);
  const last = given[layers.length - 1];
  return { down: perLayer(cfg, FIELD, given, layers), mid: typeof last === 'number' ? last : last[0] };
}

/** The way up, from the coarsest level, each with one layer more. @throws ConfigError naming the field. */
export function readUpDepths(cfg: ConfigReader, layers: readonly number[]): Depths {
  const counts = [...layers].reverse().map((n) => n + 1);
  const own = list(cfg, REVERSE, layers.length);
  if (own) return perLayer(cfg, REVERSE, own, counts);
  const given = list(cfg, FIELD, layers.length) ?? layers.map(() => 1);
  if (given.some((depth) => typeof depth !== 'number')) {
    cfg.refuse(REVERSE, `an array of ${layers.length}, because ${FIELD} differs from layer to layer`);
  }
  return perLayer(cfg, FIELD, [...given].reverse(), counts);
}

type Entry = number | readonly number[];

/** Undefined where the config does not say. */
function list(cfg: ConfigReader, field: string, levels: number): readonly Entry[] | undefined {
  cfg.ignored([field]); // asked for: no getter reads nested lists
  if (!cfg.has(field)) return undefined;
  const value = cfg.raw[field];
  if (isDepth(value)) return Array<number>(levels).fill(value);
  const isEntry = (v: unknown): v is Entry => isDepth(v) || (Array.isArray(v) && v.length > 0 && v.every(isDepth));
  if (Array.isArray(value) && value.length === levels && value.every(isEntry)) return value;
  return cfg.refuse(field, `an integer >= 0, or an array of ${levels} of them, or of arrays of them`);
}

function perLayer(cfg: ConfigReader, field: string, given: readonly Entry[], layers: readonly number[]): Depths {
  return given.map((depth, i) => {
    if (typeof depth === 'number') return Array<number>(layers[i]).fill(depth);
    if (depth.length >= layers[i]) return depth;
    return cfg.refuse(field, `at least ${layers[i]} numbers at position ${i}, one per layer`);
  });
}

const isDepth = (v: unknown): v is number => Number.isInteger(v) && (v as number) >= 0;
