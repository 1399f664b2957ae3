/**
 * Rest between the turns of different processes. When their run is done, threads of other runtimes go on spinning for a
 * while, and drivers tidy up; whoever is next would be measured beside that. So a piece of work of known length runs on
 * the adapter, again and again, until it takes no longer than on a free machine. Everyone waits for that before a turn,
 * peers as well as we.
 */
import type { Device } from '../src/engine/index.ts';
import { openProbe } from './roofline/roofline.ts';
import { quantile } from './statistics.ts';

/**
 * A machine counts as free when the work takes, so many times in a row, at most this many times what it took at first.
 * With one of two cores taken it takes 1.5 to 2 times as long.
 */
const SLACK = 1.3;
const IN_A_ROW = 2;
/**
 * Milliseconds after which the machine is taken as it is; onnxruntime's threads need 30 to 60. A machine that others
 * use never comes to rest: after each wait in vain the next is half as long, down to the shortest.
 */
const LONGEST = 400;
const SHORTEST = 25;
/** How often the work is done at first, before there are others; the lower quartile counts. */
const CALIBRATION = 20;

export interface Rest {
  settle(): Promise<void>;
  /** How often it was waited for, how often without success, and for how many milliseconds in all. */
  readonly waited: { times: number; inVain: number; ms: number };
  dispose(): void;
}

/** Rest on an adapter; to be opened while nothing else runs. @throws OutOfMemoryError, DeviceLostError */
export async function openRest(device: Device): Promise<Rest> {
  const probe = await openProbe(device);
  return { ...(await restBy(() => probe.run())), dispose: () => probe.dispose() };
}

/** @param probe does the piece of work; its milliseconds */
export async function restBy(
  probe: () => Promise<number>,
  now = () => performance.now(),
): Promise<Omit<Rest, 'dispose'>> {
  const first: number[] = [];
  for (let i = 0; i < CALIBRATION; i++) first.push(await probe());
  const most = SLACK * quantile(first, 0.25);
  const waited = { times: 0, inVain: 0, ms: 0 };
  let longest = LONGEST;
  return {
    waited,
    async settle() {
      const start = now();
      let free = 0;
      while (free < IN_A_ROW && now() - start < longest) free = (await probe()) <= most ? free + 1 : 0;
      waited.times++;
      waited.ms += now() - start;
      if (free < IN_A_ROW) waited.inVain++;
      longest = free < IN_A_ROW ? Math.max(SHORTEST, longest / 2) : LONGEST;
    },
  };
}
