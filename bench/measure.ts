/** Measuring a group of cases in turns: A B C A B C …, so that whatever the machine does meanwhile, it does to all. */
import { AbortedError, type Device, throwIfAborted } from '../src/engine/index.ts';
import type { BenchCase, Peer, PeerSubject, Subject } from './case.ts';
import { verifyProblem } from './kernels/cases.ts';
import { problemData } from './kernels/problem.ts';
import type { BenchFailure, BenchResult, PeerResult } from './result.ts';
import { median, spread } from './statistics.ts';

export interface MeasureOptions {
  /** A fresh device for every case: nothing compiled for one helps another. */
  openDevice(): Promise<Device>;
  reps: number;
  peers?: readonly Peer[];
  signal?: AbortSignal;
  /** A line about the work, now and then. */
  note?(line: string): void;
  /** Milliseconds; default `performance.now`. */
  now?(): number;
}

/** Runs stand behind each other until they take this long: clocks of browsers are no finer than 0.1 ms. */
const SPAN_MS = 10;
const MOST_RUNS = 100;
/** A case that takes long is measured less often than asked, but never less than three times. */
const BUDGET_MS = 10_000;
const FEWEST_REPS = 3;
const SLOW_MS = 2000;

/** Anything that takes its turn. */
interface Entrant {
  /** Waits until one run, or several in a row, are done. */
  time(runs: number): Promise<number>;
  gpu?(runs: number): Promise<number>;
  runs: number;
  reps: number;
  ms: number[];
  gpuMs: number[];
}

interface Opened {
  case: BenchCase;
  device: Device;
  subject: Subject;
  firstMs: number;
  maxError: number;
  entrant: Entrant;
  peers: { peer: Peer; subject: PeerSubject; firstMs: number; maxError: number; entrant: Entrant }[];
}

/**
 * Opens, checks, warms up and times the cases of one group. A case that fails is reported; the others go on.
 * @throws AbortedError
 */
export async function measureGroup(
  cases: readonly BenchCase[],
  options: MeasureOptions,
): Promise<{ results: BenchResult[]; failures: BenchFailure[] }> {
  const failures: BenchFailure[] = [];
  const opened: Opened[] = [];
  try {
    for (const c of cases) {
      throwIfAborted(options.signal, 'bench');
      try {
        opened.push(await openCase(c, options));
      } catch (error) {
        if (error instanceof AbortedError) throw error;
        failures.push(failureOf(c, error));
        options.note?.(`${c.name} ${c.dtype}: FAILED: ${messageOf(error)}`);
      }
    }
    const entrants = opened.flatMap((o) => [o.entrant, ...o.peers.map((p) => p.entrant)]);
    const turns = entrants.reduce((most, e) => Math.max(most, e.reps), 0);
    for (let turn = 0; turn < turns; turn++) {
      for (const e of entrants) {
        throwIfAborted(options.signal, 'bench');
        if (turn >= e.reps) continue;
        e.ms.push((await e.time(e.runs)) / e.runs);
        if (e.gpu) e.gpuMs.push(await e.gpu(e.runs));
      }
    }
    return { results: opened.map(resultOf), failures };
  } finally {
    for (const o of opened) await closeCase(o);
  }
}

async function openCase(c: BenchCase, options: MeasureOptions): Promise<Opened> {
  options.note?.(`${c.name} ${c.dtype}`);
  const device = await options.openDevice();
  const peers: Opened['peers'] = [];
  let subject: Subject | undefined;
  try {
    subject = await c.open(device);
    const own = subject;
    await device.idle();
    const timed = stopwatch(options.now);
    const firstMs = await timed(() => own.first());
    const maxError = await own.verify();
    const entrant = await warmUp(options.reps, {
      time: (runs) =>
        timed(async () => {
          for (let run = 0; run < runs; run++) await own.run(options.signal);
          await device.idle();
        }),
      gpu: own.gpuMs && ((runs) => own.gpuMs!(runs)),
    });
    if (c.problem) for (const peer of options.peers ?? []) await openPeer(peer, c, options, peers);
    return { case: c, device, subject, firstMs, maxError, entrant, peers };
  } catch (error) {
    for (const p of peers) await p.subject.dispose();
    await subject?.dispose();
    device.dispose();
    throw error;
  }
}

/** A peer that cannot, or errs, is left out of that case with a line: it is not the peer that is on trial. */
async function openPeer(peer: Peer, c: BenchCase, options: MeasureOptions, into: Opened['peers']): Promise<void> {
  let subject: PeerSubject | undefined;
  try {
    const data = problemData(c.problem!, c.dtype);
    subject = await peer.open(c.problem!, data, c.dtype);
    if (!subject) return;
    const theirs = subject;
    const timed = stopwatch(options.now);
    const firstMs = await timed(() => theirs.first());
    const maxError = verifyProblem(c.problem!, data, c.dtype, await theirs.output(), `${peer.name} ${c.name}`);
    const entrant = await warmUp(options.reps, {
      time: (runs) =>
        timed(async () => {
          for (let run = 0; run < runs; run++) await theirs.run();
        }),
    });
    into.push({ peer, subject, firstMs, maxError, entrant });
  } catch (error) {
    await subject?.dispose();
    if (error instanceof AbortedError) throw error;
    options.note?.(`${c.name} ${c.dtype}: ${peer.name} left out: ${messageOf(error)}`);
  }
}

/** Runs until warm, and finds how many runs make a span that a clock can measure, and how often there is time for it. */
async function warmUp(reps: number, how: Pick<Entrant, 'time' | 'gpu'>): Promise<Entrant> {
  let once = await how.time(1);
  // What takes long was warm after the check; another round would only cost time.
  if (once < SLOW_MS) {
    await how.gpu?.(1);
    once = await how.time(1);
  }
  const runs = Math.min(MOST_RUNS, Math.max(1, Math.ceil(SPAN_MS / Math.max(once, 1e-3))));
  const turn = once * runs * (how.gpu ? 2 : 1);
  const affordable = Math.max(FEWEST_REPS, Math.floor(BUDGET_MS / turn));
  return { ...how, runs, reps: Math.min(reps, affordable), ms: [], gpuMs: [] };
}

function stopwatch(now = () => performance.now()): (work: () => Promise<void>) => Promise<number> {
  return async (work) => {
    const start = now();
    await work();
    return now() - start;
  };
}

function resultOf({ case: c, device, subject, firstMs, maxError, entrant, peers }: Opened): BenchResult {
  const ms = median(entrant.ms);
  const gpuMs = entrant.gpuMs.length ? median(entrant.gpuMs) : null;
  // A clock that did not move has measured nothing.
  const seconds = (gpuMs || ms) / 1000;
  return {
    suite: c.suite,
    name: c.name,
    dtype: c.dtype,
    ms,
    minMs: Math.min(...entrant.ms),
    spread: spread(entrant.ms),
    gpuMs,
    firstMs,
    gflops: c.flops > 0 ? c.flops / 1e9 / seconds : null,
    gbps: c.bytes > 0 ? c.bytes / 1e9 / seconds : null,
    peakBytes: device.held.bytes,
    dispatches: subject.dispatches,
    reps: entrant.reps,
    runsPerRep: entrant.runs,
    maxError,
    peers: peers.map((p): PeerResult => {
      const theirs = median(p.entrant.ms);
      return {
        name: p.peer.name,
        version: p.peer.version,
        ms: theirs,
        firstMs: p.firstMs,
        ratio: theirs / ms,
        maxError: p.maxError,
      };
    }),
  };
}

async function closeCase({ device, subject, peers }: Opened): Promise<void> {
  for (const p of peers) await p.subject.dispose();
  await subject.dispose();
  device.dispose();
}

function failureOf({ suite, name, dtype }: BenchCase, error: unknown): BenchFailure {
  return { suite, name, dtype, message: messageOf(error) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
