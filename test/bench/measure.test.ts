import { describe, expect, test } from 'vitest';
import type { BenchCase, Peer, PeerSubject, Subject } from '../../bench/case.ts';
import { problemError } from '../../bench/kernels/cases.ts';
import { problemData, type MatmulProblem } from '../../bench/kernels/problem.ts';
import { measureGroup } from '../../bench/measure.ts';
import { AbortedError, type Device } from '../../src/engine/index.ts';
import { linearReference } from '../reference/linear.ts';
import { expectClose, F64 } from '../support/close.ts';

/** Time passes where the fakes say so. */
let clock = 0;
const now = () => clock;

/** A device that does nothing, and tells what was done to it. */
function fakeDevice(log: string[] = []) {
  return {
    held: { bytes: 4096, buffers: 1 },
    idle: async () => {},
    dispose: () => void log.push('device disposed'),
  } as unknown as Device;
}

function fakeCase(
  name: string,
  log: string[],
  subject: Partial<Subject> = {},
  more: Partial<BenchCase> = {},
): BenchCase {
  const busy = async (what: string) => {
    log.push(`${name} ${what}`);
    clock += 12;
  };
  return {
    ...{ suite: 'kernels', group: 'matmul', name, dtype: 'f32', flops: 2e9, bytes: 4e9 },
    open: async () => ({
      first: () => busy('first'),
      verify: async () => 0.25,
      run: () => busy('run'),
      dispatches: 3,
      dispose: () => void log.push(`${name} disposed`),
      ...subject,
    }),
    ...more,
  } as BenchCase;
}

describe('a group', () => {
  test('is checked, warmed up, and then measured in turns', async () => {
    const log: string[] = [];
    const { results, failures } = await measureGroup([fakeCase('a', log), fakeCase('b', log)], {
      openDevice: async () => fakeDevice(log),
      now,
      reps: 3,
    });
    const warmUp = (name: string) => [`${name} first`, `${name} run`, `${name} run`];
    const turns = ['a run', 'b run', 'a run', 'b run', 'a run', 'b run'];
    const end = ['a disposed', 'device disposed', 'b disposed', 'device disposed'];
    expect(log).toEqual([...warmUp('a'), ...warmUp('b'), ...turns, ...end]);
    expect(failures).toEqual([]);
    expect(results.map((r) => r.name)).toEqual(['a', 'b']);
    expect(results[0]).toMatchObject({
      reps: 3,
      runsPerRep: 1,
      dispatches: 3,
      peakBytes: 4096,
      maxError: 0.25,
      gpuMs: null,
    });
    expect(results[0]).toMatchObject({ ms: 12, minMs: 12, spread: 0, firstMs: 12, gflops: 2 / 0.012, gbps: 4 / 0.012 });
  });

  test('takes rates from the time on the GPU where there is one, and says nothing of rates that mean nothing', async () => {
    const gpu = fakeCase('a', [], { gpuMs: async () => 4 }, { bytes: 0 });
    const { results } = await measureGroup([gpu], { openDevice: async () => fakeDevice(), now, reps: 3 });
    expect(results[0]).toMatchObject({ gpuMs: 4, gflops: 500, gbps: null });
  });

  test('puts short runs behind each other', async () => {
    const log: string[] = [];
    const short = fakeCase('a', log, { run: async () => void (log.push('run'), (clock += 3)) });
    const { results } = await measureGroup([short], { openDevice: async () => fakeDevice(), now, reps: 3 });
    expect(results[0]).toMatchObject({ ms: 3, runsPerRep: 4 });
    expect(log.filter((l) => l === 'run')).toHaveLength(2 + 3 * 4);
  });

  test('measures slow cases less often than asked, but three times', async () => {
    const runs: number[] = [];
    const slow = (seconds: number) =>
      fakeCase(`${seconds}`, [], { run: async () => void (runs.push(seconds), (clock += 1000 * seconds)) });
    const { results } = await measureGroup([slow(1), slow(60), slow(0.1)], {
      openDevice: async () => fakeDevice(),
      now,
      reps: 15,
    });
    expect(results.map((r) => r.reps)).toEqual([10, 3, 15]);
    // With two runs of warming up, or one where that takes long.
    expect([1, 60, 0.1].map((s) => runs.filter((r) => r === s).length)).toEqual([2 + 10, 1 + 3, 2 + 15]);
  });

  test('goes on without a case whose result is wrong, which is never timed', async () => {
    const log: string[] = [];
    const wrong = fakeCase('a', log, {
      verify: async () => {
        throw new Error('wrong result');
      },
    });
    const { results, failures } = await measureGroup([wrong, fakeCase('b', log)], {
      openDevice: async () => fakeDevice(),
      now,
      reps: 3,
    });
    expect(results.map((r) => r.name)).toEqual(['b']);
    expect(failures).toEqual([{ suite: 'kernels', name: 'a', dtype: 'f32', message: 'wrong result' }]);
    expect(log).not.toContain('a run');
    expect(log).toContain('a disposed');
  });

  test('that falls over in its turns is reported, and leaves nothing open', async () => {
    const log: string[] = [];
    let runs = 0;
    const run = async () => {
      clock += 12;
      if (++runs > 3) throw new Error('device lost');
    };
    const { results, failures } = await measureGroup([fakeCase('a', log, { run }), fakeCase('b', log)], {
      openDevice: async () => fakeDevice(log),
      now,
      reps: 3,
    });
    expect(results).toEqual([]);
    expect(failures.map(({ name, message }) => [name, message])).toEqual([
      ['a', 'device lost'],
      ['b', 'device lost'],
    ]);
    expect(log.slice(-4)).toEqual(['a disposed', 'device disposed', 'b disposed', 'device disposed']);
  });

  test('stops when told to, and leaves nothing open', async () => {
    const log: string[] = [];
    const controller = new AbortController();
    const stopping = fakeCase('a', log, { verify: async () => (controller.abort(), 0) });
    const options = { openDevice: async () => fakeDevice(log), now, reps: 3, signal: controller.signal };
    await expect(measureGroup([stopping, fakeCase('b', log)], options)).rejects.toThrow(AbortedError);
    expect(log.slice(-2)).toEqual(['a disposed', 'device disposed']);
    expect(log).not.toContain('b first');
  });
});

describe('a case that is compared with another', () => {
  test('has the ratio of times of one turn, also where the machine slows down', async () => {
    let slow = 1;
    const takes = (name: string, ms: number, more: Partial<BenchCase> = {}) =>
      fakeCase(name, [], { run: async () => void ((clock += ms * slow), (slow *= more.against ? 1.5 : 1)) }, more);
    const cases = [takes('on', 20), takes('off', 25, { against: 'on' })];
    const { results } = await measureGroup(cases, { openDevice: async () => fakeDevice(), now, reps: 6 });
    expect(results[0].gain).toBeUndefined();
    expect(results[1].gain).toMatchObject({ against: 'on', pairs: 6 });
    expectClose([results[1].gain!.ratio, results[1].gain!.low!, results[1].gain!.high!], [1.25, 1.25, 1.25], F64);
  });

  test('gets a device without what it does without, tuned or not', async () => {
    const asked: unknown[] = [];
    const openDevice = async (...how: unknown[]) => (asked.push(how), fakeDevice());
    const without = ['subgroups' as GPUFeatureName];
    const cases = [fakeCase('a', []), fakeCase('b', [], {}, { without }), fakeCase('c', [], {}, { usual: true })];
    await measureGroup(cases, { openDevice, tune: true, now, reps: 3 });
    // An untuned device for the first run, then the one that is measured; one that is never tuned needs no other.
    expect(asked).toEqual([
      [false, undefined],
      [true, undefined],
      [false, without],
      [true, without],
      [false, undefined],
    ]);
  });
});

describe('bounded submits', () => {
  /**
   * A run takes 50 ms and half a millisecond per submit but the first; every run is half a percent slower than the one
   * before.
   */
  const model = (log: string[], slower = 1.005) => {
    let submitsNow = 3;
    let slow = 1;
    let submits = 0;
    const run = async () => {
      log.push(`${submitsNow}`);
      submits += submitsNow;
      clock += (50 + 0.5 * (submitsNow - 1)) * (slow *= slower);
    };
    const host: Subject['host'] = {
      encode: async () => void (clock += 1),
      async paced(times, work) {
        submitsNow = times === Infinity ? 1 : 3 / times;
        return work().finally(() => (submitsNow = 3));
      },
      get submits() {
        return submits;
      },
    };
    return fakeCase('m', log, { run, host }, { suite: 'models' });
  };

  test('are measured in pairs whose order alternates, so that a machine that slows down is no cost', async () => {
    const log: string[] = [];
    const { results } = await measureGroup([model(log)], { openDevice: async () => fakeDevice(), now, reps: 8 });
    // A run as usual, bounded against one, in short pieces against one; then the other way round.
    expect(log.slice(-11, -1)).toEqual(['3', '3', '1', '12', '1', '3', '1', '3', '1', '12']);
    const { host } = results[0];
    expect(host).toMatchObject({ encodeMs: 1, submits: 3, boundCost: { pairs: 8 }, submitMs: { submits: 12 } });
    // 1.02 with 0.5 % more and less in turn.
    const { ratio, low, high } = host!.boundCost;
    expectClose([ratio, low!, high!], [(1.02 * (1.005 + 1 / 1.005)) / 2, 1.02 / 1.005, 1.02 * 1.005], F64);
    expect(host!.boundedMs).toBeGreaterThan(host!.oneSubmitMs);
  });

  test('in short pieces tell what a submit costs', async () => {
    const options = { openDevice: async () => fakeDevice(), now, reps: 8 };
    const { results } = await measureGroup([model([], 1)], options);
    const { ms, low, high } = results[0].host!.submitMs!;
    expectClose([ms, low!, high!], [0.5, 0.5, 0.5], F64);
  });

  test('get fewer pairs where time is short', async () => {
    const options = { openDevice: async () => fakeDevice(), now, reps: 100, budgetMs: 1000 };
    const { results } = await measureGroup([model([])], options);
    expect(results[0].host!.boundCost.pairs).toBeGreaterThan(6);
    expect(results[0].host!.boundCost.pairs).toBeLessThan(11);
  });
});

describe('a peer', () => {
  const problem: MatmulProblem = { op: 'matmul', M: 3, N: 5, K: 7 };
  const right = () => {
    const { x, w, b } = problemData(problem, 'f32');
    return Float32Array.from(linearReference(x, w, problem, { bias: b }));
  };
  /** Takes `ms` a run by name of variant. */
  const peer = (log: string[], ms: Record<string, number>, more: Partial<PeerSubject> = {}): Peer => ({
    name: 'peer',
    variants: () => Object.keys(ms),
    open: async (_, variant) => ({
      ...{ version: '1.2.3', settings: `as ${variant}`, pipelined: true },
      first: async () => (log.push(`${variant} first`), 100),
      run: async (runs) => (log.push(`${variant} run`), ms[variant] * runs),
      output: async () => right(),
      dispose: () => void log.push(`${variant} disposed`),
      ...more,
    }),
  });
  const check = (out: Float32Array) => problemError(problem, problemData(problem, 'f32'), 'f32', out);
  interface More {
    notes?: string[];
    subject?: Partial<Subject>;
    settle?: () => Promise<void>;
  }
  const measure = (log: string[], peers: Peer[], { notes = [], subject = {}, settle }: More = {}) =>
    measureGroup([fakeCase('a', log, subject, { peerWork: { work: { problem }, check } })], {
      openDevice: async () => fakeDevice(),
      settle,
      now,
      reps: 3,
      peers,
      note: (line) => void notes.push(line),
    });

  test('is checked as we are, takes turns with ours, and is given as a ratio', async () => {
    const log: string[] = [];
    const { results } = await measure(log, [peer(log, { plain: 24 })]);
    const [p] = results[0].peers;
    expect(p).toMatchObject({ name: 'peer', version: '1.2.3', variant: 'plain', settings: 'as plain', native: false });
    expect(p).toMatchObject({ ms: 24, firstMs: 100, ratio: 2, spread: 0, others: [] });
    expect(p.maxError).toBeLessThan(1);
    const turns = ['a run', 'plain run', 'a run', 'plain run', 'a run', 'plain run'];
    expect(log.slice(-8)).toEqual([...turns, 'plain disposed', 'a disposed']);
  });

  test('and we wait for each other to come to rest, not for ourselves', async () => {
    const log: string[] = [];
    const settle = async () => void log.push('rest');
    await measure(log, [peer(log, { fast: 24, near: 30 })], { settle });
    const round = ['rest', 'a run', 'rest', 'fast run', 'rest', 'near run'];
    expect(log.slice(-21, -3)).toEqual([...round, ...round, ...round]);
    const alone: string[] = [];
    await measure(alone, [], { settle: async () => void alone.push('rest') });
    expect(alone).not.toContain('rest');
  });

  test('with several ways of doing the work counts by the fastest; one that is clearly slower takes no turns', async () => {
    const log: string[] = [];
    const { results } = await measure(log, [peer(log, { near: 30, fast: 24, slow: 60 })]);
    const [p] = results[0].peers;
    expect(p).toMatchObject({ variant: 'fast', ms: 24, ratio: 2 });
    expect(p.others).toEqual([
      { variant: 'near', ms: 30, firstMs: 100 },
      { variant: 'slow', ms: 60, firstMs: 100 },
    ]);
    expect(log.filter((l) => l === 'slow run')).toHaveLength(2);
    expect(log.filter((l) => l === 'near run')).toHaveLength(2 + 3);
    expect(log.indexOf('slow disposed')).toBeLessThan(log.lastIndexOf('a run'));
  });

  test('that is wrong does not count where it has a way that is right, and is reported with its error else', async () => {
    const wrong = async () => right().map((v) => v * 1.01);
    const both = peer([], { right: 24, wrong: 12 });
    const mixed: Peer = {
      ...both,
      open: async (...args) => ({ ...(await both.open(...args)), ...(args[1] === 'wrong' && { output: wrong }) }),
    };
    expect((await measure([], [mixed])).results[0].peers[0]).toMatchObject({ variant: 'right', ratio: 2 });
    const { results } = await measure([], [peer([], { wrong: 12 }, { output: wrong })]);
    expect(results[0].peers[0].ratio).toBe(1);
    expect(results[0].peers[0].maxError).toBeGreaterThan(1);
  });

  test('that waits for each run is compared with ours awaited too, where that makes a difference', async () => {
    // A run takes 2 ms, and waiting for it another 1.
    let pending = 0;
    const device = () => ({ ...fakeDevice(), idle: async () => void ((clock += pending && 1), (pending = 0)) });
    const run = async () => void ((clock += 2), (pending = 1));
    const short = fakeCase('a', [], { run }, { peerWork: { work: { problem }, check } });
    const options = { openDevice: async () => device() as never, now, reps: 3 };
    const { results } = await measureGroup([short], { ...options, peers: [peer([], { p: 6 }, { pipelined: false })] });
    expect(results[0].runsPerRep).toBeGreaterThan(1);
    expect(results[0].ms).toBeLessThan(3);
    expect(results[0].awaitedMs).toBe(3);
    expect(results[0].peers[0].ratio).toBe(2);
  });

  test('that fails is left out with a line, and ours is measured all the same', async () => {
    const log: string[] = [];
    const notes: string[] = [];
    const output = () => Promise.reject(new Error('no memory'));
    const { results, failures } = await measure(log, [peer(log, { plain: 24 }, { output })], { notes });
    expect(results[0].peers).toEqual([]);
    expect(failures).toEqual([]);
    expect(notes.at(-1)).toBe('a f32: peer (plain) left out: no memory');
    expect(log).toContain('plain disposed');
  });

  test('that cannot do the work is passed over in silence', async () => {
    const notes: string[] = [];
    const { results } = await measure([], [peer([], {})], { notes });
    expect(results[0].peers).toEqual([]);
    expect(notes).toEqual(['a f32']);
  });
});
