/** Where the time of a program goes: a table per op and a trace for Chrome's viewer. */
import type { Program } from './program.ts';

/** The time of one dispatch. */
export interface ProfileRow {
  /** Where in the model the dispatch stands. */
  label: string;
  kernel: string;
  /** Milliseconds on the GPU; wall time of a submit of its own where the adapter has no timestamps. */
  ms: number;
  /** Start relative to the first dispatch, ms. */
  start: number;
  /** Multiply–adds × 2. */
  flops: number;
}

/** The times of one run, in the order of the dispatches. */
export interface Profile {
  /** `timestamp` or `wall`. */
  clock: 'timestamp' | 'wall';
  rows: ProfileRow[];
  totalMs: number;
}

/**
 * Runs the program once on the inputs it holds, one pass per dispatch, and times each.
 * @throws DeviceLostError
 */
export async function profile(program: Program): Promise<Profile> {
  const rows = program.device.caps.timestamps ? await byTimestamps(program) : await byWall(program);
  return {
    clock: program.device.caps.timestamps ? 'timestamp' : 'wall',
    rows,
    totalMs: rows.reduce((sum, r) => sum + r.ms, 0),
  };
}

/** Query sets hold at most 4096 entries, two a dispatch. */
const PER_SET = 2048;

async function byTimestamps(program: Program): Promise<ProfileRow[]> {
  const { device, dispatches } = program;
  const times: number[] = [];
  for (let from = 0; from < dispatches.length; from += PER_SET) {
    const to = Math.min(dispatches.length, from + PER_SET);
    const count = 2 * (to - from);
    const querySet = device.gpu.createQuerySet({ type: 'timestamp', count, label: 'profile' });
    const resolved = device.createBuffer(
      8 * count,
      GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
      'profile timestamps',
    );
    try {
      const encoder = device.gpu.createCommandEncoder({ label: 'profile' });
      program.encodeSeparately(encoder, from, to, (i) => ({
        label: dispatches[i].label,
        timestampWrites: {
          querySet,
          beginningOfPassWriteIndex: 2 * (i - from),
          endOfPassWriteIndex: 2 * (i - from) + 1,
        },
      }));
      encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      device.gpu.queue.submit([encoder.finish()]);
      const ticks = new BigUint64Array(await device.read(resolved, 8 * count));
      for (const t of ticks) times.push(Number(t) / 1e6);
    } finally {
      querySet.destroy();
      device.destroyBuffer(resolved);
    }
  }
  const zero = times[0] ?? 0;
  return dispatches.map((d, i) => ({
    label: d.label,
    kernel: d.kernel.name,
    start: times[2 * i] - zero,
    ms: Math.max(0, times[2 * i + 1] - times[2 * i]),
    flops: d.flops,
  }));
}

async function byWall(program: Program): Promise<ProfileRow[]> {
  const { device, dispatches } = program;
  await device.idle();
  const zero = performance.now();
  const rows: ProfileRow[] = [];
  for (let i = 0; i < dispatches.length; i++) {
    const encoder = device.gpu.createCommandEncoder({ label: 'profile' });
    program.encodeSeparately(encoder, i, i + 1, () => ({ label: dispatches[i].label }));
    const start = performance.now();
    device.gpu.queue.submit([encoder.finish()]);
    await device.idle();
    const { label, kernel, flops } = dispatches[i];
    rows.push({ label, kernel: kernel.name, start: start - zero, ms: performance.now() - start, flops });
  }
  return rows;
}

/** A text table: time, share, calls and rate per kernel, the dearest first. */
export function profileTable({ rows, totalMs, clock }: Profile): string {
  const groups = new Map<string, { ms: number; calls: number; flops: number }>();
  for (const r of rows) {
    const g = groups.get(r.kernel) ?? { ms: 0, calls: 0, flops: 0 };
    groups.set(r.kernel, { ms: g.ms + r.ms, calls: g.calls + 1, flops: g.flops + r.flops });
  }
  const lines = [...groups]
    .sort((a, b) => b[1].ms - a[1].ms)
    .map(([kernel, g]) =>
      [
        kernel.padEnd(24),
        g.ms.toFixed(3).padStart(10),
        `${((100 * g.ms) / (totalMs || 1)).toFixed(1)}%`.padStart(8),
        String(g.calls).padStart(7),
        (g.flops / 1e6 / (g.ms || 1)).toFixed(2).padStart(10),
      ].join(''),
    );
  const head = `${'kernel'.padEnd(24)}${'ms'.padStart(10)}${'share'.padStart(8)}${'calls'.padStart(7)}${'GFLOP/s'.padStart(10)}`;
  return [head, ...lines, `${'total'.padEnd(24)}${totalMs.toFixed(3).padStart(10)}   (${clock})`].join('\n');
}

/** The profile as a Chrome trace (chrome://tracing, Perfetto). */
export function chromeTrace({ rows }: Profile): string {
  const traceEvents = rows.map((r) => ({
    name: r.label,
    cat: r.kernel,
    ph: 'X',
    ts: 1000 * r.start,
    dur: 1000 * r.ms,
    pid: 1,
    tid: 1,
    args: { kernel: r.kernel, gflops: r.flops / 1e6 / (r.ms || 1) },
  }));
  return JSON.stringify({ traceEvents, displayTimeUnit: 'ms' });
}
