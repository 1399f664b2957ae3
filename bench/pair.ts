/** Two ways of doing the same work, one right behind the other, so that their ratio can be told to a percent. */
import { FEWEST_REPS, MOST_RUNS, SPAN_MS, type Effort, type Turn } from './entrant.ts';
import { pairedRatio, type PairedRatio } from './statistics.ts';

/** Waits until so many runs are done. @returns milliseconds of all */
type Time = (runs: number) => Promise<number>;

export interface Pair {
  /** Runs behind each other, and pairs. */
  runs: number;
  reps: number;
  /** What was measured, per run; the two of a pair have one index. */
  a: number[];
  b: number[];
  time: { a: Time; b: Time };
}

/** Runs both until warm, and finds how many pairs there is time for. */
export async function warmPair({ reps, budgetMs }: Effort, time: Pair['time']): Promise<Pair> {
  await time.a(1);
  await time.b(1);
  const both = (await time.a(1)) + (await time.b(1));
  const runs = Math.min(MOST_RUNS, Math.max(1, Math.ceil((2 * SPAN_MS) / Math.max(both, 1e-3))));
  const affordable = Math.max(FEWEST_REPS, Math.floor(budgetMs / (both * runs)));
  return { runs, reps: Math.min(reps, affordable), a: [], b: [], time };
}

/**
 * One pair a turn. Which of the two is first alternates: a machine that slows down would else look like a difference.
 */
export const pairTurn = (pair: Pair, owner: string): Turn => ({
  owner,
  reps: pair.reps,
  async take() {
    const order = pair.a.length % 2 === 0 ? (['a', 'b'] as const) : (['b', 'a'] as const);
    for (const side of order) pair[side].push((await pair.time[side](pair.runs)) / pair.runs);
  },
});

/** a over b. */
export const ratioOf = ({ a, b }: Pair): PairedRatio => pairedRatio(a, b);
