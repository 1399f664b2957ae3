/** One of the sampler's vectors, on the GPU. */
import type { Vec } from '../sampler/index.ts';
import type { GpuSpace } from './gpuSpace.ts';

/**
 * A vector in a buffer: item b has its elements from `offset + b·stride` on, in elements. What operations return is dense
 * and starts its buffer; halves of channels are seen in place.
 */
export class GpuVec implements Vec {
  /** False once its step has ended or it was released. */
  alive = true;

  constructor(
    readonly space: GpuSpace,
    readonly buffer: GPUBuffer,
    readonly length: number,
    readonly batch: number,
    readonly offset: number,
    readonly stride: number,
    /** The vector that owns the buffer; undefined for one that owns it itself. */
    readonly viewOf?: GpuVec,
  ) {}

  /** Elements per item. */
  get item(): number {
    return this.length / this.batch;
  }

  /** Whether the items follow each other without gaps. */
  get dense(): boolean {
    return this.batch === 1 || this.stride === this.item;
  }

  /** The vector that owns the buffer: itself, or what it is a view of. */
  get root(): GpuVec {
    return this.viewOf ?? this;
  }
}
