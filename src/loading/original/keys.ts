/** What the mappings of original layouts share. */
import { ConfigError } from '../../engine/errors.ts';
import type { Checkpoint } from '../checkpoint.ts';

/** Keys and shapes of a checkpoint below a prefix, without the prefix. */
export interface Shapes {
  readonly keys: readonly string[];
  has(key: string): boolean;
  /** @throws ConfigError when there is no such key */
  of(key: string): readonly number[];
}

/**
 * The part of a checkpoint whose stored keys begin with a prefix.
 * @throws ConfigError when a shape is asked for that the checkpoint has not.
 */
export function shapesBelow(checkpoint: Checkpoint, prefix: string): Shapes {
  const own = checkpoint.view((key) => (key.startsWith(prefix) ? key.slice(prefix.length) : undefined));
  return {
    keys: own.keys(),
    has: (key) => own.has(key),
    of(key) {
      if (own.has(key)) return own.info(key).shape;
      throw new ConfigError(
        `checkpoint ${checkpoint.name}: expected a weight ${prefix}${key} to tell the model's form by, got none; the ` +
          'file holds another model, or only part of one: pass its config',
        prefix + key,
      );
    },
  };
}

/** How many numbers in a row, from 0 on, some key has at the place of `#` in the pattern. */
export function countOf(keys: readonly string[], pattern: string): number {
  const [before, after] = pattern.split('#');
  const found = new Set<number>();
  for (const key of keys) {
    if (!key.startsWith(before)) continue;
    const rest = /^(\d+)(.*)$/.exec(key.slice(before.length));
    if (rest?.[2].startsWith(after)) found.add(Number(rest[1]));
  }
  let count = 0;
  while (found.has(count)) count++;
  return count;
}

/** The first pair whose pattern fits, applied; undefined where none does. */
export function replaceFirst(key: string, pairs: readonly (readonly [RegExp, string])[]): string | undefined {
  const pair = pairs.find(([pattern]) => pattern.test(key));
  return pair && key.replace(pair[0], pair[1]);
}
