/** Measuring a group of cases in turns: opened, checked, warmed up, then A B C A B C … with the peers among them. */
import { AbortedError, type Device, throwIfAborted } from '../src/engine/index.ts';
import type { BenchCase, HostSide, Peer, Subject } from './case.ts';
import { type Effort, type Entrant, medianMs, spreadOf, takeTurns, type Turn, turnOf, warmUp } from './entrant.ts';
import { type Pair, pairTurn, ratioOf, warmPair } from './pair.ts';
import { openPeers, peerResults, type OpenedPeer } from './peerTurns.ts';
import type { BenchFailure, BenchResult, HostResult } from './result.ts';
import { standing, type Roofline } from './roofline/roofline.ts';
import { median, medianInterval, pairedRatio } from './statistics.ts';

export interface MeasureOptions {
  /**
   * A fresh device for every case: nothing compiled for one helps another. `tuned` finds the fastest ways by measuring
   * them when a program is compiled; first runs are not. `without` are features to leave out.
   */
  openDevice(tuned: boolean, without?: readonly GPUFeatureName[]): Promise<Device>;
  /** Whether ways of computing are chosen by measurement; default false. */
  tune?: boolean;
  reps: number;
  /** Milliseconds that one entrant may take of the turns; default 10,000. */
  budgetMs?: number;
  peers?: readonly Peer[];
  /** Waits, between the turns of us and of peers, until what has run has come to rest. */
  settle?(): Promise<void>;
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

/** Short pieces hold this share of what a submit usually holds: with many submits it shows what each one costs. */
const SHORT_PIECES = 1 / 4;

/**
 * Encoding without running; runs in usual and in short pieces, each beside a run in one; and the submits of the former.
 */
interface Host {
  encode: Entrant;
  bounds: Pair;
  pieces: Pair;
  submits: { usual: number[]; many: number[] };
}

interface Opened {
  case: BenchCase;
  device: Device;
  subject: Subject;
  firstMs: number;
  maxError: number;
  entrant: Entrant;
  /** Waits for each run, as some peers do; only where that makes a difference. */
  awaited?: Entrant;
  /** Of models. */
  host?: Host;
  peers: OpenedPeer[];
}

/**
 * Opens, checks, warms up and times the cases of one group. A case that fails before the turns is reported, and the
 * others go on; what fails in a turn ends the turns of all that are open.
 * @throws AbortedError
 */
export async function measureGroup(
  cases: readonly BenchCase[],
  options: MeasureOptions,
): Promise<{ results: BenchResult[]; failures: BenchFailure[] }> {
  const results: BenchResult[] = [];
  const failures: BenchFailure[] = [];
  const together = options.peers?.length && cases.some((c) => c.peerWork) ? CASES_WITH_PEERS : cases.length;
  for (let from = 0; from < cases.length; from += together) {
    const opened: Opened[] = [];
    const shared = new Map<string, Device>();
    try {
      for (const c of cases.slice(from, from + together)) {
        throwIfAborted(options.signal, 'bench');
        try {
          opened.push(await openCase(c, options, shared));
        } catch (error) {
          if (error instanceof AbortedError) throw error;
          failures.push(failureOf(c, error));
          options.note?.(`${c.name} ${c.dtype}: FAILED: ${messageOf(error)}`);
        }
      }
      await takeTurns(opened.flatMap(turnsOf), () => throwIfAborted(options.signal, 'bench'), options.settle);
      results.push(...opened.map((o) => ({ ...resultOf(o, options.roofline), ...gainOf(o, opened) })));
    } catch (error) {
      // A device that is lost or a peer that crashes in its turn: those beside it are lost, not what was measured
      // before.
      if (error instanceof AbortedError) throw error;
      failures.push(...opened.map((o) => failureOf(o.case, error)));
      options.note?.(`${opened.map((o) => o.case.name).join(', ')}: FAILED: ${messageOf(error)}`);
    } finally {
      for (const o of opened) await closeCase(o);
      for (const device of shared.values()) device.dispose();
    }
  }
  return { results, failures };
}

/** We are one owner; of the peers, every way of doing the work has a process of its own. */
const turnsOf = ({ case: c, entrant, awaited, host, peers }: Opened): Turn[] => [
  turnOf(entrant, 'ours'),
  ...(host ? [pairTurn(host.bounds, 'ours'), pairTurn(host.pieces, 'ours'), turnOf(host.encode, 'ours')] : []),
  ...(awaited ? [turnOf(awaited, 'ours')] : []),
  ...peers.flatMap((p) => p.kept.map((k) => turnOf(k.entrant, `${c.name} ${p.peer.name} ${k.variant}`))),
];

async function openCase(c: BenchCase, options: MeasureOptions, shared: Map<string, Device>): Promise<Opened> {
  options.note?.(`${c.name} ${c.dtype}`);
  const tuned = (options.tune ?? false) && !c.usual;
  const { sharedDevice: name } = c;
  const untuned = tuned && name === undefined ? await firstRun(c, options) : undefined;
  const known = name === undefined ? undefined : shared.get(name);
  const device = known ?? (await options.openDevice(tuned, c.without));
  if (name !== undefined) shared.set(name, device);
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
    const several = async (runs: number) => {
      for (let run = 0; run < runs; run++) await own.run(options.signal);
      await device.idle();
    };
    const entrant = await warmUp(effort, {
      time: (runs) => timed(() => several(runs)),
      gpu: own.gpuMs && ((runs) => own.gpuMs!(runs)),
    });
    peers = await openPeers(c, options.peers ?? [], effort, options);
    const waits = peers.some((p) => p.kept.some((k) => !k.subject.pipelined));
    const eachAwaited = (runs: number) => timed(() => repeat(runs, () => several(1)));
    const awaited = waits && entrant.runs > 1 ? await warmUp(effort, { time: eachAwaited }) : undefined;
    const side = c.suite === 'models' ? own.host : undefined;
    const host = side && (await openHost(side, several, timed, effort));
    return { case: c, device, subject, firstMs, maxError, entrant, awaited, host, peers };
  } catch (error) {
    for (const p of peers) await p.dispose();
    await subject?.dispose();
    if (name === undefined) device.dispose();
    throw error;
  }
}

async function openHost(
  side: HostSide,
  several: (runs: number) => Promise<void>,
  timed: ReturnType<typeof stopwatch>,
  effort: Effort,
): Promise<Host> {
  const counted = (submits: number[], times: number) => async (runs: number) => {
    const before = side.submits;
    const ms = await side.paced(times, () => timed(() => several(runs)));
    submits.push((side.submits - before) / runs);
    return ms;
  };
  const [usual, many, one]: number[][] = [[], [], []];
  // Pieces of the usual size teach the pacer its rate, as they do for users; the others leave it as it is.
  const bounded = async (runs: number) => {
    const before = side.submits;
    const ms = await timed(() => several(runs));
    usual.push((side.submits - before) / runs);
    return ms;
  };
  const bounds = await warmPair(effort, { a: bounded, b: counted(one, Infinity) });
  const pieces = await warmPair(effort, { a: counted(many, SHORT_PIECES), b: counted(one, Infinity) });
  usual.length = many.length = 0; // while warming up, the rate was still being learned
  const encode = await warmUp(effort, { time: (runs) => timed(() => repeat(runs, side.encode)) });
  return { encode, bounds, pieces, submits: { usual, many } };
}

/** Of a device that measures nothing first, as a user meets it. */
async function firstRun(c: BenchCase, options: MeasureOptions): Promise<number> {
  const device = await options.openDevice(false, c.without);
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
    peakBytes: c.sharedDevice === undefined ? device.held.bytes : (subject.bytes ?? device.held.bytes),
    dispatches: subject.dispatches,
    activations: subject.activations ?? null,
    ...(host && { host: hostResult(host) }),
    reps: entrant.reps,
    runsPerRep: entrant.runs,
    maxError,
    peers: peerResults(peers, { ms, awaitedMs }),
    ...(c.growth && { growth: c.growth }),
    ...(c.candidate && { candidate: c.candidate }),
  };
}

const hostResult = ({ encode, bounds, pieces, submits }: Host): HostResult => ({
  encodeMs: medianMs(encode),
  oneSubmitMs: median(bounds.b),
  boundedMs: median(bounds.a),
  submits: median(submits.usual),
  boundCost: ratioOf(bounds),
  submitMs: costOfSubmits(pieces, submits.many),
});

function costOfSubmits({ a, b }: Pair, submits: readonly number[]): HostResult['submitMs'] {
  const each = a.flatMap((ms, i) => (submits[i] > 1 ? [(ms - b[i]) / (submits[i] - 1)] : []));
  if (each.length < a.length) return null;
  const { low, high } = medianInterval(each) ?? { low: null, high: null };
  return { ms: median(each), low, high, submits: median(submits) };
}

/** How the times of a case and of the one it is compared with stood to each other, turn by turn. */
function gainOf({ case: c, entrant }: Opened, opened: readonly Opened[]): Pick<BenchResult, 'gain'> {
  const other = opened.find((o) => o.case.name === c.against);
  return other ? { gain: { against: other.case.name, ...pairedRatio(entrant.ms, other.entrant.ms) } } : {};
}

async function closeCase({ case: c, device, subject, peers }: Opened): Promise<void> {
  for (const p of peers) await p.dispose();
  await subject.dispose();
  if (c.sharedDevice === undefined) device.dispose();
}

function failureOf({ suite, name, dtype }: BenchCase, error: unknown): BenchFailure {
  return { suite, name, dtype, message: messageOf(error) };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
