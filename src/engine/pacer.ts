/**
 * Bounded submits. A submit that runs for seconds starves the page's compositor and trips driver watchdogs, so work is
 * cut into pieces of about `budgetMs`, with at most two of them queued. The rate is learned from the pieces themselves.
 */
import type { Device } from './device.ts';

/**
 * How many small pieces may be queued, and which share of a full piece they may come to together. A page learns late
 * that a piece is done, so one or two at a time would leave the GPU idle in between; but waiting for the oldest now and
 * then is also what keeps the page alive.
 */
const MOST_PENDING = 8;
const SMALL = 1 / 8;
/** Shorter times (in milliseconds) measure the event loop, not the GPU; they only say "at least this fast". */
const MEASURABLE_MS = 5;
/** A piece too short to measure may raise the rate by this factor at most: nobody saw when it ended. */
const MOST_RAISE = 2;

interface Piece {
  cost: number;
  done: Promise<void>;
}

export class Pacer {
  /** Cost units per millisecond, the running estimate. */
  rate: number;
  /** Submits so far. */
  submits = 0;
  private readonly pending: Piece[] = [];
  private pendingCost = 0;
  /** When the last piece was done; and the work done without a gap from which the rate has not been learned yet. */
  private lastDone = 0;
  private stretch = { since: 0, cost: 0 };

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

  /** Submits; resolves as soon as no more than one piece, or a few small ones, are still to be done. */
  async submit(commands: GPUCommandBuffer, cost: number): Promise<void> {
    const submitted = performance.now();
    this.submits++;
    this.device.gpu.queue.submit([commands]);
    const done = this.device.gpu.queue.onSubmittedWorkDone().then(
      () => this.learn(submitted, cost),
      () => undefined,
    );
    this.pending.push({ cost, done });
    this.pendingCost += cost;
    const small = SMALL * this.budget;
    while (this.pending.length > 1 && (this.pendingCost > small || this.pending.length > MOST_PENDING)) {
      const oldest = this.pending.shift()!;
      this.pendingCost -= oldest.cost;
      await oldest.done;
    }
    this.device.check();
  }

  private learn(submitted: number, cost: number): void {
    const now = performance.now();
    if (submitted > this.lastDone) this.stretch = { since: submitted, cost: 0 };
    this.lastDone = now;
    this.stretch.cost += cost;
    const elapsed = now - this.stretch.since;
    if (elapsed > MEASURABLE_MS) {
      this.rate = 0.5 * this.rate + (0.5 * this.stretch.cost) / elapsed;
      this.stretch = { since: now, cost: 0 };
    } else {
      const atLeast = this.stretch.cost / MEASURABLE_MS;
      this.rate = Math.max(this.rate, Math.min(atLeast, MOST_RAISE * this.rate));
    }
  }
}
