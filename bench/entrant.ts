/** Whatever takes its turn: warmed up, then timed a run or several at a time. */
import { median, spread } from './statistics.ts';

export interface Entrant {
  /** Waits until one run, or several in a row, are done. @returns milliseconds of all */
  time(runs: number): Promise<number>;
  /** Milliseconds on the GPU of one run, averaged over several. */
  gpu?(runs: number): Promise<number>;
  /** Runs behind each other at a turn, and turns. */
  runs: number;
  reps: number;
  /** What was measured, per run. */
  ms: number[];
  gpuMs: number[];
}

/** Runs stand behind each other until they take this long: clocks of browsers are no finer than 0.1 ms. */
export const SPAN_MS = 10;
/** But no more than this many: a clock that did not move does not tell how many it takes. */
export const MOST_RUNS = 100;
/** Never fewer, however long a case takes. */
export const FEWEST_REPS = 3;
const SLOW_MS = 2000;

/** How often to measure: as asked, unless that takes longer than the budget. */
export interface Effort {
  reps: number;
  budgetMs: number;
}

/**
 * Runs until warm, and finds how many runs make a span that a clock can measure, and how often there is time for it.
 */
export async function warmUp({ reps, budgetMs }: Effort, how: Pick<Entrant, 'time' | 'gpu'>): Promise<Entrant> {
  let once = await how.time(1);
  // A slow case is warm after its check; another round would only cost time.
  if (once < SLOW_MS) {
    await how.gpu?.(1);
    once = await how.time(1);
  }
  const runs = Math.min(MOST_RUNS, Math.max(1, Math.ceil(SPAN_MS / Math.max(once, 1e-3))));
  const turn = once * runs * (how.gpu ? 2 : 1);
  const affordable = Math.max(FEWEST_REPS, Math.floor(budgetMs / turn));
  return { ...how, runs, reps: Math.min(reps, affordable), ms: [], gpuMs: [] };
}

/** A turn among others. */
export interface Turn {
  /** Whose process works. */
  owner: string;
  /** How often it comes round. */
  reps: number;
  take(): Promise<void>;
}

export const turnOf = (e: Entrant, owner: string): Turn => ({
  owner,
  reps: e.reps,
  async take() {
    e.ms.push((await e.time(e.runs)) / e.runs);
    if (e.gpu) e.gpuMs.push(await e.gpu(e.runs));
  },
});

/**
 * All in turns, A B C A B C …, so that whatever the machine does meanwhile, it does to all. Where the turn passes to
 * another owner, `settle` waits until what the one before left running has come to rest.
 */
export async function takeTurns(
  turns: readonly Turn[],
  beforeEach: () => void,
  settle?: () => Promise<void>,
): Promise<void> {
  const rounds = turns.reduce((most, t) => Math.max(most, t.reps), 0);
  // Who was the last to be warmed up is not known here.
  let last = new Set(turns.map((t) => t.owner)).size > 1 ? undefined : turns[0]?.owner;
  for (let round = 0; round < rounds; round++) {
    for (const turn of turns) {
      beforeEach();
      if (round >= turn.reps) continue;
      if (turn.owner !== last) await settle?.();
      last = turn.owner;
      await turn.take();
    }
  }
}

export const medianMs = (e: Entrant) => median(e.ms);
export const spreadOf = (e: Entrant) => spread(e.ms);
