/** Times ways of computing one thing against each other on the device. */
import type { Device } from './device.ts';
import { OutOfMemoryError, ValidationError } from './errors.ts';
import { byteSize, rootOf } from './graph.ts';
import type { Dispatch } from './lower.ts';
import { Program } from './program.ts';

/** Rounds in which the ways take turns; medians are compared. */
const ROUNDS = 3;
/** Milliseconds that one measurement should last, where the clock is coarse. */
const LONG_ENOUGH = 2;
/** Bytes that a way may take for a trial. */
const MOST_BYTES = 2 ** 29;

/**
 * Median milliseconds of each way. Undefined when there is no time for all of them: half a comparison is none.
 * @throws DeviceLostError
 */
export async function timeWays(
  device: Device,
  ways: ReadonlyMap<string, readonly Dispatch[]>,
  left: () => number,
): Promise<Record<string, number> | undefined> {
  const trials = new Map<string, { program: Program; runs: number; times: number[] }>();
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
        t.times.push((await once(t.program, t.runs)) / t.runs);
      }
      if (left() <= 0) break;
    }
    return Object.fromEntries([...trials].map(([way, { times }]) => [way, median(times)]));
  } finally {
    for (const { program } of trials.values()) program.dispose();
  }
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
