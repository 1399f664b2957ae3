/** Times ways of computing one thing against each other on the device. */
import type { Device } from './device.ts';
import { OutOfMemoryError, ValidationError } from './errors.ts';
import { byteSize, rootOf } from './graph.ts';
import type { Dispatch } from './lower.ts';
import { Program } from './program.ts';

/** Rounds in which the ways take turns; medians are compared. */
const ROUNDS = 3;
/**
 * Turns in which the usual way and one that seems faster are timed once more, just the two: the fastest of several in
 * few rounds is also the luckiest.
 */
const DUEL = 7;
/** A way must take at most this part of the usual one's time to replace it, so that noise does not choose. */
export const MARGIN = 0.97;
/** Milliseconds that one measurement should last, where the clock is coarse. */
const LONG_ENOUGH = 2;
/** Bytes that a way may take for a trial. */
const MOST_BYTES = 2 ** 29;

/** A way that is being timed. */
interface Trial {
  program: Program;
  /** Behind each other in one measurement. */
  runs: number;
  /** Milliseconds of one run, round by round. */
  times: number[];
}

/**
 * Median milliseconds of each way. Undefined when there is no time for all of them: half a comparison is none.
 * @param usual the way that others have to beat again before their time counts; default: none, as measured.
 * @throws DeviceLostError
 */
export async function timeWays(
  device: Device,
  ways: ReadonlyMap<string, readonly Dispatch[]>,
  left: () => number,
  usual?: string,
): Promise<Record<string, number> | undefined> {
  const trials = new Map<string, Trial>();
  try {
    let longest = 0;
    for (const [way, dispatches] of ways) {
      // One more way will not be quicker to compile than the one that took longest.
      if (left() <= longest) return undefined;
      if (bytesOf(dispatches) > MOST_BYTES) continue;
      const before = left();
      const program = await trial(device, dispatches);
      if (!program) continue;
      await once(program, 1);
      const runs = Math.max(1, Math.min(32, Math.ceil(LONG_ENOUGH / Math.max(0.05, await once(program, 1)))));
      trials.set(way, { program, runs, times: [] });
      longest = Math.max(longest, before - left());
    }
    for (let round = 0; round < ROUNDS; round++) {
      for (const t of trials.values()) {
        if (left() <= 0 && round === 0) return undefined;
        t.times.push(await timed(t));
      }
      if (left() <= 0) break;
    }
    const times = Object.fromEntries([...trials].map(([way, t]) => [way, median(t.times)]));
    if (usual === undefined || !trials.has(usual)) return times;
    return await proven(times, usual, (way) => duel(trials.get(way)!, trials.get(usual)!, left));
  } finally {
    for (const { program } of trials.values()) program.dispose();
  }
}

/**
 * The times, where each way that would replace the usual one has been compared with it again. Undefined when there was
 * no time for that.
 * @param again what part of the usual way's time a way takes, measured anew.
 */
export async function proven(
  times: Readonly<Record<string, number>>,
  usual: string,
  again: (way: string) => Promise<number | undefined>,
): Promise<Record<string, number> | undefined> {
  const found = { ...times };
  const rivals = Object.keys(times).filter((way) => times[way] <= MARGIN * times[usual]);
  let best = times[usual];
  for (const way of rivals.sort((a, b) => times[a] - times[b])) {
    // What did not seem as fast as the best that is proven need not be looked at again.
    if (times[way] >= best) break;
    const ratio = await again(way);
    if (ratio === undefined) return undefined;
    found[way] = ratio * times[usual];
    best = Math.min(best, found[way]);
  }
  return found;
}

/** The median ratio of two times, each pair right behind each other, in either order; undefined if time ran out. */
async function duel(rival: Trial, usual: Trial, left: () => number): Promise<number | undefined> {
  const ratios: number[] = [];
  for (let turn = 0; turn < DUEL; turn++) {
    if (left() <= 0) return undefined;
    const [first, second] = turn % 2 ? [rival, usual] : [usual, rival];
    const a = await timed(first);
    const b = await timed(second);
    ratios.push(turn % 2 ? a / b : b / a);
  }
  return median(ratios);
}

/** Milliseconds of one run. */
async function timed({ program, runs }: Trial): Promise<number> {
  return (await once(program, runs)) / runs;
}

/** The program of a way; undefined if it does not compile here, or finds no memory beside what is allocated. */
async function trial(device: Device, dispatches: readonly Dispatch[]): Promise<Program | undefined> {
  try {
    return await Program.ofDispatches(device, dispatches);
  } catch (error) {
    if (error instanceof ValidationError || error instanceof OutOfMemoryError) return undefined;
    throw error;
  }
}

/** Wall time of several runs in one submit. */
async function once(program: Program, runs: number): Promise<number> {
  const { device } = program;
  const encoder = device.gpu.createCommandEncoder({ label: 'tune' });
  for (let i = 0; i < runs; i++) program.encodeSeparately(encoder, 0, program.dispatches.length, () => ({}));
  const commands = encoder.finish();
  const start = performance.now();
  device.gpu.queue.submit([commands]);
  await device.idle();
  return performance.now() - start;
}

function bytesOf(dispatches: readonly Dispatch[]): number {
  const tensors = new Set(dispatches.flatMap((d) => Object.values(d.bindings)).map((t) => t && rootOf(t)));
  return [...tensors].reduce((sum, t) => sum + (t ? byteSize(t) : 0), 0);
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}
