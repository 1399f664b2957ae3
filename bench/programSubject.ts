/** A recorded graph as something to time. */
import {
  byteSize,
  formatShape,
  InvalidArgumentError,
  numel,
  Program,
  storedElements,
  toHalf,
  type Choices,
  type Device,
  type Graph,
  type Rewrite,
  type Tensor,
  type Weights,
} from '../src/engine/index.ts';
import { optionalRewrites, rewrites } from '../src/kernels/index.ts';
import type { HostSide, Subject } from './case.ts';

export interface ProgramWork {
  graph: Graph;
  /**
   * Brought to the GPU by the first run, unless they are there; the subject disposes of them, unless others have them
   * too.
   */
  weights?: Weights;
  sharesWeights?: boolean;
  /** Row-major values of every input. */
  inputs: Readonly<Record<string, Float32Array | Uint32Array>>;
  /** Names of rewrites to do without. */
  rewritesOff?: ReadonlySet<string>;
  /** Names of optional ones to do with. */
  rewritesOn?: ReadonlySet<string>;
  /** Ways of computing, where neither the tuner nor the op is to choose. */
  choices?: Choices;
  /** Largest error as a fraction of what is tolerated. @throws MismatchError */
  verify(program: Program): Promise<number>;
}

/** All that every graph goes through, and of the optional ones those named. */
export function rewritesWith(on: ReadonlySet<string> = new Set()): Rewrite[] {
  return [...rewrites, ...optionalRewrites.filter(({ name }) => on.has(name))];
}

export class ProgramSubject implements Subject {
  private program: Program | undefined;
  private clock: GpuClock | undefined;

  constructor(
    private readonly device: Device,
    private readonly work: ProgramWork,
  ) {}

  async first(): Promise<void> {
    const { graph, weights, inputs, rewritesOff, rewritesOn, choices } = this.work;
    const taken = rewritesWith(rewritesOn);
    this.program = await Program.compile(this.device, graph, weights, { rewrites: taken, rewritesOff, choices });
    for (const [name, t] of graph.inputs) {
      const bytes = deviceBytes(t, inputs[name]);
      const buffer = this.program.inputBuffer(name);
      this.device.gpu.queue.writeBuffer(buffer, 0, bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    await this.program.run();
    await this.device.idle();
    if (this.device.caps.timestamps) this.clock = new GpuClock(this.device, this.program);
  }

  verify(): Promise<number> {
    return this.work.verify(this.program!);
  }

  run(signal?: AbortSignal): Promise<void> {
    return this.program!.run({ signal });
  }

  get gpuMs(): ((runs: number) => Promise<number>) | undefined {
    return this.clock && ((runs) => this.clock!.measure(runs));
  }

  get dispatches(): number {
    return this.program!.report.dispatches;
  }

  get bytes(): number {
    const { weightBytes, edgeBytes, peakBytes } = this.program!.report;
    return weightBytes + edgeBytes + peakBytes;
  }

  get activations(): { peakBytes: number; liveBytes: number } {
    const { peakBytes, liveBytes } = this.program!.report;
    return { peakBytes, liveBytes };
  }

  get host(): HostSide {
    const { pacer } = this.device;
    const program = this.program!;
    return {
      async encode() {
        pacer.submit = async () => {};
        await program.run().finally(() => Reflect.deleteProperty(pacer, 'submit'));
      },
      async paced(times, work) {
        const { budgetMs, rate } = pacer;
        pacer.budgetMs = times === Infinity ? Infinity : budgetMs * times;
        // Longer or shorter pieces would teach the pacer another rate than the usual ones have, so it is put back.
        return work().finally(() => Object.assign(pacer, { budgetMs, rate }));
      },
      get submits() {
        return pacer.submits;
      },
    };
  }

  dispose(): void {
    this.clock?.dispose();
    this.program?.dispose();
    if (!this.work.sharesWeights) this.work.weights?.dispose();
  }
}

/** Timestamps before the first and after the last of several runs, so that coarse clocks do not matter. */
class GpuClock {
  private readonly queries: GPUQuerySet;
  private readonly resolved: GPUBuffer;

  constructor(
    private readonly device: Device,
    private readonly program: Program,
  ) {
    this.queries = device.gpu.createQuerySet({ type: 'timestamp', count: 2, label: 'bench' });
    this.resolved = device.createBuffer(16, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC, 'bench timestamps');
  }

  /** Milliseconds of one run. */
  async measure(runs: number): Promise<number> {
    const { device, program, queries, resolved } = this;
    const last = program.dispatches.length - 1;
    const encoder = device.gpu.createCommandEncoder({ label: 'bench' });
    for (let run = 0; run < runs; run++) {
      program.encodeSeparately(encoder, 0, last + 1, (i) => {
        const begins = run === 0 && i === 0;
        const ends = run === runs - 1 && i === last;
        if (!begins && !ends) return {};
        return {
          timestampWrites: {
            querySet: queries,
            ...(begins && { beginningOfPassWriteIndex: 0 }),
            ...(ends && { endOfPassWriteIndex: 1 }),
          },
        };
      });
    }
    encoder.resolveQuerySet(queries, 0, 2, resolved, 0);
    device.gpu.queue.submit([encoder.finish()]);
    const [begin, end] = new BigUint64Array(await device.read(resolved, 16));
    return Number(end - begin) / 1e6 / runs;
  }

  dispose(): void {
    this.queries.destroy();
    this.device.destroyBuffer(this.resolved);
  }
}

/** A tensor's bytes on the device: rows padded with zeros, halves where it has them. */
function deviceBytes(t: Tensor, data: Float32Array | Uint32Array | undefined): ArrayBufferView<ArrayBuffer> {
  if (data?.length !== numel(t.shape)) {
    throw new InvalidArgumentError(
      `bench: expected ${numel(t.shape)} values for ${t.label} ${formatShape(t.shape)}, got ${data?.length ?? 'none'}`,
    );
  }
  if (data instanceof Uint32Array) return data as Uint32Array<ArrayBuffer>;
  const width = t.layout === 'dense' ? data.length : t.shape.at(-1)!;
  const stride = t.layout === 'dense' ? width : 4 * Math.ceil(width / 4);
  let stored = data as Float32Array<ArrayBuffer>;
  if (data.length * 4 !== byteSize({ ...t, dtype: 'f32' })) {
    stored = new Float32Array(storedElements(t));
    for (let row = 0; row * width < data.length; row++) {
      stored.set(data.subarray(row * width, row * width + width), row * stride);
    }
  }
  return t.dtype === 'f16' ? toHalf(stored) : stored;
}
