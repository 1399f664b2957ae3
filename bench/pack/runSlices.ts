/** Runs slices one after the other within a budget of time; what an earlier call has done is not done again. */
import { appendFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT } from '../../src/node/cli/exit.ts';
import type { Slice } from './slices.ts';

/** How a run of the bench ended: its exit status, none where it crashed, and what it said. */
export interface Ended {
  status: number | null;
  said: string;
}

export interface Started {
  ended: Promise<Ended>;
  /** Asks it to stop. */
  stop(): void;
  /** Ends it. */
  kill(): void;
}

/** `none`: the adapter or the options leave no case of it. `left`: for another call. */
export type SliceState = 'done' | 'failed' | 'none' | 'left';

export interface RunOptions {
  /** Reports go here, as NAME.json; what failed leaves NAME.failed.txt, and all of it log.txt. */
  folder: string;
  /** Milliseconds of this call, and of a slice at most. */
  budgetMs: number;
  mostMs: number;
  /** Starts the bench, which writes its report to the file. */
  start(slice: Slice, file: string): Started;
  /** Whether to try again what has failed. */
  again?: boolean;
  signal?: AbortSignal;
  note?(line: string): void;
}

/** Milliseconds from asking a slice to stop until it is ended. */
export const GRACE_MS = 15_000;
/** Milliseconds under which no slice is begun. */
export const LEAST_MS = 60_000;

/** What became of every slice, by name. */
export async function runSlices(slices: readonly Slice[], options: RunOptions): Promise<Map<string, SliceState>> {
  const { folder, budgetMs, mostMs, signal, note } = options;
  const begun = Date.now();
  const left = () => budgetMs - (Date.now() - begun);
  mkdirSync(folder, { recursive: true });
  const states = new Map<string, SliceState>();
  for (const slice of slices) {
    const known = stateOf(folder, slice);
    if (known !== 'left' && !(known === 'failed' && options.again)) {
      states.set(slice.name, known);
      continue;
    }
    const ms = Math.min(mostMs, left() - GRACE_MS);
    if (left() < LEAST_MS || signal?.aborted) {
      states.set(slice.name, 'left');
      continue;
    }
    const from = Date.now();
    // One that had all the time that there is will need more than another call can give.
    const state = await runSlice(slice, options, ms, ms >= Math.min(mostMs, budgetMs - 2 * GRACE_MS));
    states.set(slice.name, state);
    note?.(`${slice.name}: ${state}, ${((Date.now() - from) / 1000).toFixed(0)} s`);
  }
  return states;
}

const fileOf = (folder: string, { name }: Slice, ending: string) => join(folder, `${name}.${ending}`);

/** What earlier calls left of a slice. */
export function stateOf(folder: string, slice: Slice): SliceState {
  if (existsSync(fileOf(folder, slice, 'json'))) return 'done';
  if (existsSync(fileOf(folder, slice, 'none'))) return 'none';
  return existsSync(fileOf(folder, slice, 'failed.txt')) ? 'failed' : 'left';
}

async function runSlice(slice: Slice, options: RunOptions, ms: number, isAll: boolean): Promise<SliceState> {
  const { folder, start, signal } = options;
  const partial = fileOf(folder, slice, 'part');
  const failure = fileOf(folder, slice, 'failed.txt');
  rmSync(failure, { force: true });
  const started = start(slice, partial);
  let cut = false;
  let last: ReturnType<typeof setTimeout> | undefined;
  const stop = () => {
    cut = true;
    started.stop();
    last = setTimeout(() => started.kill(), GRACE_MS);
  };
  const timer = setTimeout(stop, ms);
  signal?.addEventListener('abort', stop, { once: true });
  const { status, said } = await started.ended;
  clearTimeout(timer);
  clearTimeout(last);
  signal?.removeEventListener('abort', stop);
  appendFileSync(join(folder, 'log.txt'), `\n== ${slice.name}\n${said}\n`);
  const wrote = existsSync(partial);
  if (wrote && !cut && (status === EXIT.ok || status === EXIT.failure)) {
    renameSync(partial, fileOf(folder, slice, 'json'));
    return 'done';
  }
  rmSync(partial, { force: true });
  if (cut && (signal?.aborted || !isAll)) return 'left';
  if (status === EXIT.usage && /fits some case/.test(said)) {
    writeFileSync(fileOf(folder, slice, 'none'), '');
    return 'none';
  }
  const why = cut ? `took longer than ${(ms / 60_000).toFixed(1)} minutes` : `ended with ${status ?? 'a crash'}`;
  writeFileSync(failure, `${slice.name}: ${why}\n${said.slice(-4000)}\n`);
  return 'failed';
}
