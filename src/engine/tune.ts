/**
 * Choosing by measurement. Where an op can be computed in several ways, the fastest on this adapter is found once per
 * class of shapes and kept. The engine measures whatever ops offer through {@link Lowering.choose}; it knows none of
 * them by name.
 */
import type { Device } from './device.ts';
import { InvalidArgumentError, throwIfAborted } from './errors.ts';
import type { Graph } from './graph.ts';
import type { Choices, Dispatch } from './lower.ts';
import { rewritten, type PrepareOptions } from './prepare.ts';
import { sameTraits, shippedTuning, traitsOf, type ShippedAdapter, type ShippedEntry } from './shippedTuning.ts';
import { placesOf, versionOf, waysOf } from './tunePlaces.ts';
import { hashText, parseTuning, printTuning, type TuneEntry, type TuneStore } from './tuneStore.ts';
import { MARGIN, timeWays } from './tuneTiming.ts';

/**
 * `off`: the usual ways. `cached`: what was measured earlier, on this adapter or, as part of the library, on one like
 * it; else the usual ways. `full`: measure what is missing.
 */
export type TuneMode = (typeof TUNE_MODES)[number];
const TUNE_MODES = ['off', 'cached', 'full'] as const;

/** Milliseconds that each way of a place took, by name; ways that could not be timed are left out. */
export type WayTimes = Readonly<Record<string, number>>;

/** How to tune. */
export interface TuneOptions {
  /** Default `cached`. */
  mode?: TuneMode;
  /** Where measurements are kept; default: nowhere. */
  store?: TuneStore;
  /** Measurements of known adapters; default: those that come with the library. `false`: none. */
  shipped?: false | (() => Promise<readonly ShippedAdapter[]>);
  /**
   * Milliseconds of measuring, compilation included, per graph; default 2000. What does not fit is left for the next
   * graph.
   */
  budgetMs?: number;
  /**
   * Times ways, each a list of dispatches; must stop, with undefined, once `left()` milliseconds are used up. What
   * seems faster than `usual` should be held against it again. Default: on the device.
   */
  time?: (
    device: Device,
    ways: ReadonlyMap<string, readonly Dispatch[]>,
    left: () => number,
    usual: string,
  ) => Promise<WayTimes | undefined>;
  /** The clock of the budget, in milliseconds; default: the machine's. */
  now?: () => number;
}

/** A mode by itself stands for its options. @throws InvalidArgumentError for an unknown mode */
export function tuneOptions(tune: TuneMode | TuneOptions = {}): TuneOptions {
  const options = typeof tune === 'string' ? { mode: tune } : tune;
  if (options.mode !== undefined && !TUNE_MODES.includes(options.mode)) {
    throw new InvalidArgumentError(`tune: expected one of ${TUNE_MODES.join(', ')}, got ${String(options.mode)}`);
  }
  return options;
}

/** What a tuner has done so far, in classes of shapes. */
export interface TuneReport {
  /** Measured here. */
  measured: number;
  /** Taken from the store. */
  cached: number;
  /** Taken from what comes with the library. */
  shipped: number;
  /** Left to the usual way. */
  usual: number;
  /** Milliseconds of measuring. */
  spentMs: number;
  /** What was wrong with the store; it was then done without. */
  problems: string[];
}

/** The choices of one device. */
export class Tuner {
  readonly mode: TuneMode;
  readonly report: TuneReport = { measured: 0, cached: 0, shipped: 0, usual: 0, spentMs: 0, problems: [] };
  private readonly choices = new Map<string, string>();
  /** Classes that need no further look. */
  private readonly seen = new Set<string>();
  private entries: Promise<Map<string, TuneEntry>> | undefined;
  private shipped: Promise<Map<string, ShippedEntry>> | undefined;
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly device: Device,
    private readonly options: TuneOptions = {},
  ) {
    this.mode = options.mode ?? 'cached';
  }

  /**
   * The choices for a graph, measured first where the mode asks for it. Calls wait for each other, so that they do not
   * disturb each other's clocks.
   * @throws AbortedError, DeviceLostError; a store that fails only shows in {@link report}.
   */
  settle(graph: Graph, options: PrepareOptions & { signal?: AbortSignal } = {}): Promise<Choices> {
    if (this.mode === 'off') return Promise.resolve(this.choices);
    const turn = this.last.then(() => this.settleNow(graph, options));
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async settleNow(graph: Graph, options: PrepareOptions & { signal?: AbortSignal }): Promise<Choices> {
    const { nodes } = rewritten(graph, this.device.caps, options);
    const open = placesOf(graph, nodes, this.device.caps).filter(({ place }) => !this.seen.has(place.key));
    if (!open.length) return this.choices;
    const entries = await (this.entries ??= this.read());
    const { budgetMs = 2000, now = () => performance.now() } = this.options;
    const start = now();
    const left = () => budgetMs - (now() - start);
    let changed = false;
    for (const { place } of open) {
      throwIfAborted(options.signal, 'tune');
      const entry = entries.get(place.key);
      const known = (await (this.shipped ??= this.readShipped())).get(place.key);
      const measures = this.mode === 'full' && left() > 0;
      // Where nothing is known or will be measured, ways need not be lowered nor their kernels hashed.
      if (!entry && !known && !measures) {
        this.report.usual++;
        continue;
      }
      const ways = waysOf(graph, place, this.device.caps);
      const version = versionOf(ways);
      if (entry?.version === version && ways.has(entry.way)) {
        this.choose(place.key, entry.way, 'cached');
        continue;
      }
      // An entry of other kernels is as good as none; whoever changes kernels is told by `npm run check`.
      if (known?.version === version && ways.has(known.way)) {
        this.choose(place.key, known.way, 'shipped');
        continue;
      }
      const times = measures ? await this.time(ways, left, place.usual) : undefined;
      // No way may have been timed at all: each may be too large for a trial.
      if (!times || Object.keys(times).length === 0) {
        this.report.usual++;
        continue;
      }
      const way = fastest(times, place.usual);
      entries.set(place.key, { way, version, times });
      this.choose(place.key, way, 'measured');
      changed = true;
    }
    this.report.spentMs += now() - start;
    if (changed) await this.write(entries);
    return this.choices;
  }

  private time(
    ways: ReadonlyMap<string, readonly Dispatch[]>,
    left: () => number,
    usual: string,
  ): Promise<WayTimes | undefined> {
    return (this.options.time ?? timeWays)(this.device, ways, left, usual);
  }

  private choose(key: string, way: string, from: 'cached' | 'shipped' | 'measured'): void {
    this.choices.set(key, way);
    this.seen.add(key);
    this.report[from]++;
  }

  /** One document per adapter and feature set. */
  private get document(): string {
    const { info, caps } = this.device;
    const names = [info.vendor, info.architecture, info.device, info.description].join('|');
    const { limits, matrices = false, ...features } = caps;
    return hashText(`${names} ${JSON.stringify({ ...features, matrices })} ${JSON.stringify(limits)}`);
  }

  private async read(): Promise<Map<string, TuneEntry>> {
    try {
      const text = await this.options.store?.read(this.document);
      return text === undefined ? new Map() : parseTuning(text);
    } catch (error) {
      this.report.problems.push(`tune: what was measured earlier is ignored: ${(error as Error).message}`);
      return new Map();
    }
  }

  private async readShipped(): Promise<Map<string, ShippedEntry>> {
    const { shipped = shippedTuning } = this.options;
    if (!shipped) return new Map();
    try {
      const traits = traitsOf(this.device);
      const fitting = (await shipped()).filter(({ match }) => sameTraits(match, traits));
      return new Map(fitting.flatMap(({ entries }) => Object.entries(entries)));
    } catch (error) {
      this.report.problems.push(`tune: what comes with the library is ignored: ${(error as Error).message}`);
      return new Map();
    }
  }

  private async write(entries: ReadonlyMap<string, TuneEntry>): Promise<void> {
    try {
      await this.options.store?.write(this.document, printTuning(entries));
    } catch (error) {
      this.report.problems.push(`tune: measurements could not be kept: ${(error as Error).message}`);
    }
  }
}

/** The fastest way; the usual one unless another is clearly faster. */
function fastest(times: WayTimes, usual: string): string {
  const [way] = Object.keys(times).sort((a, b) => times[a] - times[b] || (a < b ? -1 : 1));
  return usual in times && times[way] > MARGIN * times[usual] ? usual : way;
}
