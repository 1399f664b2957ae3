/** One of the sampler's vectors, on the GPU. */
import { InvalidArgumentError } from '../../engine/index.ts';
import type { Vec } from '../../sampler/index.ts';
import type { GpuSpace } from './gpuSpace.ts';
import type { Row } from './vecProgram.ts';
import type { BufferPool } from './vecQueue.ts';

/** Memory that several vectors may lie in; it goes back to its pool with the last that needs it. */
export class Block {
  private users = 0;

  /** @param pool undefined for a buffer of someone else's */
  constructor(
    readonly buffer: GPUBuffer,
    readonly pool?: BufferPool,
  ) {}

  retain(): this {
    this.users++;
    return this;
  }

  release(): void {
    if (--this.users === 0) this.pool?.give(this.buffer);
  }
}

/** Where a vector lies: item b has its elements from `offset + b·stride` on. */
export interface Place {
  readonly block: Block;
  /** Elements. */
  readonly offset: number;
  /** Elements. */
  readonly stride: number;
}

/**
 * A vector of a {@link GpuSpace}: in memory, or a row that will be computed when someone looks. Results are dense;
 * halves of channels are seen in place.
 */
export class GpuVec implements Vec {
  /** False once its step has ended or it was released. */
  alive = true;
  /** How it will be computed; undefined once it is. */
  row?: Row;
  /** Undefined until it is computed. */
  place?: Place;

  constructor(
    readonly space: GpuSpace,
    readonly length: number,
    readonly batch: number,
    place?: Place,
    /** The vector that a view is part of; undefined for one with memory of its own. */
    readonly viewOf?: GpuVec,
  ) {
    this.place = place;
  }

  /** The buffer it lies in, after computing it where that is still to be done. */
  get buffer(): GPUBuffer {
    return this.located.block.buffer;
  }

  /** Where it begins, in elements. */
  get offset(): number {
    return this.located.offset;
  }

  /** From item to item, in elements. */
  get stride(): number {
    return this.located.stride;
  }

  /** Elements per item. */
  get item(): number {
    return this.length / this.batch;
  }

  /** Whether the items follow each other without gaps. */
  get dense(): boolean {
    return this.batch === 1 || !this.place || this.place.stride === this.item;
  }

  /** Itself, or what it is a view of. */
  get root(): GpuVec {
    return this.viewOf ?? this;
  }

  private get located(): Place {
    if (!this.place && this.alive) this.space.compute(this);
    if (this.place) return this.place;
    throw new InvalidArgumentError(
      'GpuVec: expected a vector in use, got one that was released before it was computed',
    );
  }
}
