import { WeightError } from '../engine/errors.ts';
import type { Checkpoint } from './checkpoint.ts';

/** A checkpoint, and what a model wants from it. */
export interface KeyCheck {
  /** What messages begin with, e.g. `UNet2DModel`. */
  where: string;
  /** Every weight that the model will read, with its shape. */
  wanted: ReadonlyMap<string, readonly number[]>;
  checkpoint: Checkpoint;
  /** Keys that this architecture may leave unread (CLIP `position_ids`, `model_ema.*`, schedule buffers). */
  ignorable?: readonly RegExp[];
  /**
   * Lets a stored shape differ from the wanted one by trailing ones, as [C,C,1,1] does from [C,C]: older files keep
   * the projections of an attention as 1×1 convolutions, and the data is the same.
   */
  allowTrailingOnes?: boolean;
}

/** What a checkpoint holds beside the weights that were wanted. */
export interface KeyReport {
  /** Stored keys on the list of ignorable ones. */
  readonly ignored: readonly string[];
}

/** Keys named per kind of problem; the error's `keys` holds them all. */
const SHOWN = 5;

/**
 * Checks that a checkpoint holds exactly the weights that a model reads: none missing, none of another shape, none left
 * over but those on the list.
 * @throws WeightError naming the keys, all three kinds of problem in one message
 */
export function checkKeys({ where, wanted, checkpoint, ignorable = [], allowTrailingOnes }: KeyCheck): KeyReport {
  const used = new Set<string>();
  const missing: string[] = [];
  const misshapen: string[] = [];
  const shapes: string[] = [];
  for (const [key, shape] of wanted) {
    if (!checkpoint.has(key)) {
      missing.push(key);
      continue;
    }
    const info = checkpoint.info(key);
    used.add(info.storedKey);
    if (sameShape(info.shape, shape, allowTrailingOnes)) continue;
    misshapen.push(key);
    shapes.push(`${key} [${info.shape.join(',')}] in place of [${shape.join(',')}]`);
  }
  const ignored: string[] = [];
  const unused: string[] = [];
  const seen = new Set<string>();
  for (const key of checkpoint.keys()) {
    const { storedKey } = checkpoint.info(key);
    // A tensor with aliases is used when any of its names is.
    if (used.has(storedKey) || seen.has(storedKey)) continue;
    seen.add(storedKey);
    const may = ignorable.some((pattern) => matches(pattern, key) || matches(pattern, storedKey));
    (may ? ignored : unused).push(storedKey);
  }
  const problems = [
    listed('missing', missing, missing),
    listed('of another shape', misshapen, shapes),
    listed('not used by this model', unused, unused),
  ].filter((text) => text !== '');
  if (problems.length === 0) return { ignored };
  throw new WeightError(
    `${where}: expected the ${wanted.size} weights of its config in ${checkpoint.name}, got ${problems.join('; ')}; ` +
      'use the config that belongs to this checkpoint',
    [...missing, ...misshapen, ...unused],
  );
}

function listed(kind: string, keys: readonly string[], texts: readonly string[]): string {
  if (keys.length === 0) return '';
  const more = keys.length > SHOWN ? ` and ${keys.length - SHOWN} more` : '';
  return `${keys.length} ${kind}: ${texts.slice(0, SHOWN).join(', ')}${more}`;
}

function sameShape(stored: readonly number[], wanted: readonly number[], allowTrailingOnes = false): boolean {
  const [long, short] = stored.length >= wanted.length ? [stored, wanted] : [wanted, stored];
  if (long.length > short.length && !allowTrailingOnes) return false;
  return long.every((n, i) => n === (i < short.length ? short[i] : 1));
}

/** RegExp.test without the memory that a global or sticky pattern has. */
function matches(pattern: RegExp, key: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(key);
}
