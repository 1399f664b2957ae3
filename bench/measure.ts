/** Measuring a group of cases in turns: opened, checked, warmed up, then A B C A B C … with the peers among them. */
import { AbortedError, type Device, throwIfAborted } from '../src/engine/index.ts';
import type { BenchCase, Peer, Subject } from './case.ts';
import { type Entrant, medianMs, spreadOf, takeTurns, warmUp } from './entrant.ts';
import { openPeers, peerResults, type OpenedPeer } from './peerTurns.ts';
import type { BenchFailure, BenchResult } from './result.ts';
import { standing, type Roofline } from './roofline/roofline.ts';
import { median } from './statistics.ts';

export interface MeasureOptions {
  /**
   * A fresh device for every case: nothing compiled for one helps another. `tuned` finds the fastest ways by measuring
   * them when a program is compiled; first runs are not.
   */
  openDevice(tuned: boolean): Promise<Device>;
  /** Whether ways of computing are chosen by measurement; default false. */
  tune?: boolean;
  reps: number;
  /** Milliseconds that one entrant may take of the turns; default 10,000. */
  budgetMs?: number;
  peers?: readonly Peer[];
  /** What the adapter can do at best. */
  roofline?: Roofline;
  signal?: AbortSignal;
  /** A line about the work, now and then. */
  note?(line: string): void;
  /** Milliseconds; default `performance.now`. */
  now?(): number;
}

const BUDGET_MS = 10_000;
/** With peers, each with a process and a device: how many cases are open at once. */
const CASES_WITH_PEERS = 3;

interface Opened {
  case: BenchCase;
  device: Device;
  subject: Subject;
  firstMs: number;
  maxError: number;
  entrant: Entrant;
  /** Waits for each run, as some peers do; only where that makes a difference. */
  awaited?: Entrant;
  /** Of models: encoding without running, and running without bounds. */
  host?: { encode: Entrant; oneSubmit: Entrant };
  peers: OpenedPeer[];
}

/**
 * Opens, checks, warms up and times the cases of one group. A case that fails is reported; the others go on.
 * @throws AbortedError
 */
export async function measureGroup(
  cases: readonly BenchCase[],
  options: MeasureOptions,
): Promise<{ results: BenchResult[]; failures: BenchFailure[] }> {
  const results: BenchResult[] = [];
  const failures: BenchFailure[] = [];
  const together = options.peers?.length ? CASES_WITH_PEERS : cases.length;
  for (let from = 0; from < cases.length; from += together) {
    const opened: Opened[] = [];
    try {
      for (const c of cases.slice(from, from + together)) {
        throwIfAborted(options.signal, 'bench');
        try {
          opened.push(await openCase(c, options));
        } catch (error) {
          if (error instanceof AbortedError) throw error;
          failures.push(failureOf(c, error));
          options.note?.(`${c.name} ${c.dtype}: FAILED: ${messageOf(error)}`);
        }
      }
      await takeTurns(opened.flatMap(entrantsOf), () => throwIfAborted(options.signal, 'bench'));
      results.push(...opened.map((o) => resultOf(o, options.roofline)));
    } finally {
      for (const o of opened) await closeCase(o);
    }
  }
  return { results, failures };
}

const entrantsOf = ({ entrant, awaited, host, peers }: Opened): Entrant[] => [
  entrant,
  ...(host ? [host.oneSubmit, host.encode] : []),
  ...(awaited ? [awaited] : []),
  ...peers.flatMap((p) => p.kept.map((k) => k.entrant)),
];

async function openCase(c: BenchCase, options: MeasureOptions): Promise<Opened> {
  options.note?.(`${c.name} ${c.dtype}`);
  const untuned = options.tune ? await firstRun(c, options) : undefined;
  const device = await options.openDevice(options.tune ?? false);
  const effort = { reps: options.reps, budgetMs: options.budgetMs ?? BUDGET_MS };
  let peers: OpenedPeer[] = [];
  let subject: Subject | undefined;
  try {
    subject = await c.open(device);
    const own = subject;
    await device.idle();
    const timed = stopwatch(options.now);
    const tunedMs = await timed(() => own.first());
    const firstMs = untuned ?? tunedMs;
    const maxError = await own.verify();
    const entrant = await warmUp(effort, {
      time: (runs) =>
        timed(async () => {
          for (let run = 0; run < runs; run++) await own.run(options.signal);
          await device.idle();
        }),
      gpu: own.gpuMs && ((runs) => own.gpuMs!(runs)),
    });
    peers = await openPeers(c, options.peers ?? [], effort, options);
    const waits = peers.some((p) => p.kept.some((k) => !k.subject.pipelined));
    const eachAwaited = (runs: number) =>
      timed(async () => {
        for (let run = 0; run < runs; run++) {
          await own.run(options.signal);
          await device.idle();
        }
      });
    const awaited = waits && entrant.runs > 1 ? await warmUp(effort, { time: eachAwaited }) : undefined;
    const side = c.suite === 'models' ? own.host : undefined;
    const host = side && {
      encode: await warmUp(effort, { time: (runs) => timed(() => repeat(runs, side.encode)) }),
      oneSubmit: await warmUp(effort, {
        time: (runs) => timed(() => repeat(runs, side.unbounded).then(() => device.idle())),
      }),
    };
    return { case: c, device, subject, firstMs, maxError, entrant, awaited, host, peers };
  } catch (error) {
    for (const p of peers) await p.dispose();
    await subject?.dispose();
    device.dispose();
    throw error;
  }
}

/** Of a device that measures nothing first, as a user meets it. */
async function firstRun(c: BenchCase, options: MeasureOptions): Promise<number> {
  const device = await options.openDevice(false);
  try {
    const subject = await c.open(device);
    try {
      await device.idle();
      return await stopwatch(options.now)(() => subject.first());
    } finally {
      await subject.dispose();
    }
  } finally {
    device.dispose();
  }
}

async function repeat(times: number, work: () => Promise<void>): Promise<void> {
  for (let i = 0; i < times; i++) await work();
}

function stopwatch(now = () => performance.now()): (work: () => Promise<void>) => Promise<number> {
  return async (work) => {
    const start = now();
    await work();
    return now() - start;
  };
}

function resultOf(
  { case: c, device, subject, firstMs, maxError, entrant, awaited, host, peers }: Opened,
  roofline: Roofline | undefined,
): BenchResult {
  const ms = medianMs(entrant);
  const awaitedMs = awaited ? medianMs(awaited) : null;
  const gpuMs = entrant.gpuMs.length ? median(entrant.gpuMs) : null;
  // A clock that did not move has measured nothing.
  const taken = gpuMs || ms;
  const seconds = taken / 1000;
  return {
    suite: c.suite,
    name: c.name,
    dtype: c.dtype,
    ms,
    minMs: Math.min(...entrant.ms),
    spread: spreadOf(entrant),
    awaitedMs,
    gpuMs,
    firstMs,
    gflops: c.flops > 0 ? c.flops / 1e9 / seconds : null,
    gbps: c.bytes > 0 ? c.bytes / 1e9 / seconds : null,
    roof: (roofline && standing(roofline, { flops: c.flops, bytes: c.bytes, ms: taken })) ?? null,
    peakBytes: device.held.bytes,
    dispatches: subject.dispatches,
    activations: subject.activations ?? null,
    ...(host && { host: { encodeMs: medianMs(host.encode), oneSubmitMs: medianMs(host.oneSubmit) } }),
    reps: entrant.reps,
    runsPerRep: entrant.runs,
    maxError,
    peers: peerResults(peers, { ms, awaitedMs }),
    ...(c.growth && { growth: c.growth }),
  };
}

async function closeCase({ device, subject, peers }: Opened): Promise<void> {
  for (const p of peers) await p.dispose();
  await subject.dispose();
  device.dispose();
}

function failureOf({ suite, name, dtype }: BenchCase, error: unknown): BenchFailure {
  return { suite, name, dtype, message: messageOf(error) };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
