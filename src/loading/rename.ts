/** Views of a checkpoint: stored tensors under other names, whole or in pieces. */
import { WeightError } from '../engine/errors.ts';
import type { TensorEntry } from './safetensors.ts';
import type { ByteSource } from './source.ts';

/** A tensor, or a piece of one, under another name and form; the data stays where it is in the file. */
export interface Piece {
  readonly name: string;
  /** The i-th of n equal parts of the first dimension, as [i, n]: one of several matrices that were stored as one. */
  readonly part?: readonly [number, number];
  /** [A, B] is to be seen as [B, A]. */
  readonly transposed?: boolean;
  /** [A, B, 1, 1] is to be seen as [A, B]. */
  readonly squeezed?: boolean;
}

/**
 * Gives the name or names under which a stored key is to be known. Of strings the first is its own, the others are
 * aliases that yield to a tensor whose own name they are (tied weights); a piece's name is its own. Undefined or an
 * empty list leaves the key out of the view.
 */
export type Rename = (storedKey: string) => string | Piece | readonly (string | Piece)[] | undefined;

/** A tensor and the file that holds it. */
export interface Located extends TensorEntry {
  readonly storedKey: string;
  readonly source: ByteSource;
  /** Stored as [B, A] where `shape` says [A, B]. */
  readonly transposed?: boolean;
}

/**
 * The tensors by their names in the view.
 * @throws WeightError when two would get one name, or one has no such piece
 */
export function viewOf(stored: ReadonlyMap<string, Located>, rename: Rename, name: string): Map<string, Located> {
  const tensors = new Map<string, Located>();
  const aliases: [string, Located][] = [];
  for (const tensor of stored.values()) {
    const to = rename(tensor.storedKey) ?? [];
    const names = Array.isArray(to) ? (to as readonly (string | Piece)[]) : [to as string | Piece];
    const first = names.find((n) => typeof n === 'string');
    for (const n of names) {
      if (typeof n === 'string' && n !== first) {
        aliases.push([n, tensor]);
        continue;
      }
      const own = typeof n === 'string' ? n : n.name;
      const other = tensors.get(own);
      if (other) {
        throw new WeightError(
          `checkpoint ${name}: expected one weight for ${own}, got two (${other.storedKey} and ${tensor.storedKey}); ` +
            'the file mixes two layouts: take one that holds each weight once',
          [other.storedKey, tensor.storedKey],
        );
      }
      tensors.set(own, typeof n === 'string' ? tensor : pieceOf(tensor, n));
    }
  }
  for (const [alias, tensor] of aliases) if (!tensors.has(alias)) tensors.set(alias, tensor);
  return tensors;
}

/** Where a piece lies, and its shape. @throws WeightError when the tensor has no such piece */
function pieceOf(tensor: Located, { name, part: [i, n] = [0, 1], transposed, squeezed }: Piece): Located {
  let { shape } = tensor;
  while (squeezed && shape.length > 2 && shape.at(-1) === 1) shape = shape.slice(0, -1);
  const rows = shape[0] / n;
  if (!Number.isInteger(rows) || (transposed && shape.length !== 2)) {
    const what = transposed ? 'a matrix' : `${n} equal parts`;
    throw new WeightError(
      `checkpoint ${tensor.source.name}: expected ${tensor.storedKey} to be ${what} for ${name}, got ` +
        `[${shape.join(',')}]; the file is of another model`,
      [tensor.storedKey],
    );
  }
  shape = [rows, ...shape.slice(1)];
  const bytes = (tensor.end - tensor.start) / n;
  const start = tensor.start + i * bytes;
  return { ...tensor, shape: transposed ? [shape[1], rows] : shape, start, end: start + bytes, transposed };
}
