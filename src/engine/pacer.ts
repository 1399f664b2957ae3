/**
 * Bounded submits. A submit that runs for seconds starves the page's compositor and trips driver watchdogs, so work is cut
 * into pieces of about `budgetMs`, with at most two of them queued. The rate is learned from the pieces themselves.
 */
import type { Device } from './device.ts';

export class Pacer {
  /** Cost units per millisecond, the running estimate. */
  rate: number;
  /** Submits so far. */
  submits = 0;
  private readonly pending: Promise<void>[] = [];
  private lastDone = 0;

  constructor(
    private readonly device: Device,
    /** Milliseconds of GPU work that one submit should hold. */
    public budgetMs = 100,
  ) {
    this.rate = device.caps.software ? 2e6 : 1e9;
  }

  /** How much cost the next submit may hold. */
  get budget(): number {
    return this.rate * this.budgetMs;
  }

  /** Submits; resolves as soon as no more than one earlier submit is still running. */
  async submit(commands: GPUCommandBuffer, cost: number): Promise<void> {
    const submitted = performance.now();
    this.submits++;
    this.device.gpu.queue.submit([commands]);
    const done = this.device.gpu.queue.onSubmittedWorkDone().then(
      () => this.learn(submitted, cost),
      () => undefined,
    );
    this.pending.push(done);
    if (this.pending.length > 1) await this.pending.shift();
    this.device.check();
  }

  private learn(submitted: number, cost: number): void {
    const now = performance.now();
    const elapsed = now - Math.max(submitted, this.lastDone);
    this.lastDone = now;
    // Pieces shorter than a few milliseconds measure the event loop, not the GPU; they only say «at least this fast».
    if (elapsed > 5) this.rate = 0.5 * this.rate + (0.5 * cost) / elapsed;
    else if (cost / 5 > this.rate) this.rate = cost / 5;
  }
}
