/**
 * Weights by name. A model function asks its scope for every weight it reads; what was asked for is the complete list
 * of keys and shapes, so one recording checks a checkpoint, counts parameters or lists keys with no checkpoint at all.
 */
import { formatShape, numel, ShapeError, type Weight } from '../engine/index.ts';

/** A place in the tree of a model's weights, which notes every weight that is asked for. */
export class WeightScope {
  /** `down_blocks.0.resnets.1`; empty at the root. */
  readonly path: string;
  private readonly declared: Map<string, readonly number[]>;

  /**
   * A root.
   * @param prefix where the model's keys start in the checkpoint
   * @param declared receives every key with its shape
   */
  constructor(prefix = '', declared = new Map<string, readonly number[]>()) {
    this.path = prefix;
    this.declared = declared;
  }

  /** The scope of a submodule: `w.at('down_blocks', 0)`. */
  at(...path: readonly (string | number)[]): WeightScope {
    return new WeightScope([this.path, ...path].filter((part) => part !== '').join('.'), this.declared);
  }

  /**
   * A weight of this submodule, in the checkpoint's shape.
   * @throws ShapeError when the same key was asked for with another shape.
   */
  param(name: string, shape: readonly number[]): Weight {
    const key = this.path === '' ? name : `${this.path}.${name}`;
    const before = this.declared.get(key);
    if (before && formatShape(before) !== formatShape(shape)) {
      throw new ShapeError(`weight ${key}: expected one shape, got ${formatShape(before)} and ${formatShape(shape)}`);
    }
    this.declared.set(key, shape);
    return { key, shape };
  }

  /** Every key asked for in this tree of scopes, with its shape, in the order of asking. */
  get wanted(): ReadonlyMap<string, readonly number[]> {
    return this.declared;
  }

  /** Elements of all weights asked for. */
  get parameters(): number {
    let sum = 0;
    for (const shape of this.declared.values()) sum += numel(shape);
    return sum;
  }
}
