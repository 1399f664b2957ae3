import { describe, expect, test } from 'vitest';
import { chosenPeers, peersOver } from '../../bench/peers/peers.ts';
import { PeerClient, PeerError, servePeer, type Channel, type Engine, type Job } from '../../bench/peers/protocol.ts';

const job: Job = { engine: 'tfjs', variant: 'default', work: { model: 'm' }, dtype: 'f32' };

/** Two ends of one way; messages arrive later and as copies, as between processes. */
function pair() {
  const listeners: ((message: unknown) => void)[] = [];
  const ended: ((why: string) => void)[] = [];
  const end = (i: number): Channel & { close(): void } => ({
    send: (message) => queueMicrotask(() => listeners[1 - i]?.(structuredClone(message))),
    onMessage: (listener) => void (listeners[i] = listener),
    onEnd: (listener) => void ended.push(listener),
    close: () => ended.forEach((listener) => listener('closed')),
  });
  return { bench: end(0), peer: end(1), crash: (why: string) => ended.forEach((listener) => listener(why)) };
}

function fakeEngine(log: string[] = []): Engine {
  return {
    open: async ({ work }) => ({
      ...{ version: '1.2.3', settings: 'at its best', pipelined: true },
      first: async () => (log.push(`first ${JSON.stringify(work)}`), 12),
      run: async (runs) => (log.push(`run ${runs}`), 3 * runs),
      output: async () => Float32Array.of(1, 2, 3),
    }),
  };
}

describe('a peer behind a channel', () => {
  test('is opened, runs, and gives its result', async () => {
    const { bench, peer } = pair();
    const log: string[] = [];
    servePeer(peer, async () => fakeEngine(log));
    const client = new PeerClient(bench);
    expect(await client.open(job)).toEqual({ version: '1.2.3', settings: 'at its best', pipelined: true });
    expect(await client.first()).toBe(12);
    expect(await client.run(4)).toBe(12);
    expect(await client.output()).toEqual(Float32Array.of(1, 2, 3));
    expect(log).toEqual(['first {"model":"m"}', 'run 4']);
  });

  test('answers in the order of asking', async () => {
    const { bench, peer } = pair();
    const log: string[] = [];
    servePeer(peer, async () => fakeEngine(log));
    const client = new PeerClient(bench);
    await Promise.all([client.open(job), client.first(), client.run(1), client.run(2)]);
    expect(log.slice(1)).toEqual(['run 1', 'run 2']);
  });

  test('says what went wrong, and goes on', async () => {
    const { bench, peer } = pair();
    const engine = fakeEngine();
    servePeer(peer, async () => ({
      open: async (...args) => ({
        ...(await engine.open(...args)),
        first: () => Promise.reject(new Error('no kernel')),
      }),
    }));
    const client = new PeerClient(bench);
    await expect(client.run(1)).rejects.toThrow(/expected open before run/);
    await client.open(job);
    await expect(client.first()).rejects.toThrow(PeerError);
    await expect(client.first()).rejects.toThrow(/no kernel/);
    expect(await client.run(2)).toBe(6);
  });

  test('that crashes fails what waits, and what is asked later', async () => {
    const { bench, crash } = pair();
    const client = new PeerClient(bench);
    const waiting = client.open(job);
    crash('SIGSEGV');
    await expect(waiting).rejects.toThrow(/ended: SIGSEGV/);
    await expect(client.first()).rejects.toThrow(/ended: SIGSEGV/);
  });

  test('that never answers is given up', async () => {
    const client = new PeerClient(pair().bench, 5);
    await expect(client.open(job)).rejects.toThrow(/no answer to open/);
  });
});

describe('peers', () => {
  const available = {
    onnxruntime: true,
    cpu: true,
    'jax-js': false,
    tfjs: true,
    models: (name: string) => name === 'm',
  };
  const matmul = { problem: { op: 'matmul', M: 1, N: 1, K: 1 } } as const;
  const norm = { problem: { op: 'layerNorm', M: 1, D: 1, eps: 1e-5 } } as const;

  test('are those that are installed, for the work that they know', () => {
    const peers = peersOver(() => pair().bench, available);
    expect(peers.map((p) => p.name)).toEqual(['onnxruntime', 'onnxruntime-cpu', 'tfjs']);
    const ways = (work: Parameters<(typeof peers)[0]['variants']>[0]) =>
      peers.map((p) => p.variants(work, 'f32').length);
    expect(ways(matmul)).toEqual([2, 1, 2]);
    expect(ways(norm)).toEqual([1, 1, 0]);
    expect(ways({ model: 'm' })).toEqual([3, 1, 0]);
    expect(ways({ model: 'other' })).toEqual([0, 0, 0]);
    expect(peers.every((p) => p.variants(matmul, 'f16').length === 0)).toBe(true);
    expect(peers.map((p) => p.native ?? false)).toEqual([false, true, false]);
  });

  test('are tried captured where that can be', () => {
    const [ort] = peersOver(() => pair().bench, { ...available, capture: true });
    expect(ort.variants(norm, 'f32')).toEqual(['exported', 'exported, captured']);
    expect(ort.variants({ model: 'm' }, 'f32')).toEqual([
      ...['exported', 'exported, captured', 'fused', 'fused, captured'],
      ...['exported, channels first', 'exported, channels first, captured'],
    ]);
  });

  test('are chosen by name, and their ways by pattern', () => {
    const peers = peersOver(() => pair().bench, available);
    expect(chosenPeers(peers, ['tfjs'], undefined).map((p) => p.name)).toEqual(['tfjs']);
    expect(chosenPeers(peers, undefined, 'fus*')[0].variants(matmul, 'f32')).toEqual(['fused']);
    expect(chosenPeers(peers, [], undefined)).toEqual([]);
  });

  test('close the other side when it cannot open, and when they are disposed of', async () => {
    let closed = 0;
    const spawn = (fails: boolean) => () => {
      const { bench, peer } = pair();
      servePeer(peer, async () => (fails ? Promise.reject(new Error('not here')) : fakeEngine()));
      return { ...bench, close: () => void closed++ };
    };
    const open = (fails: boolean) => peersOver(spawn(fails), available)[2].open(matmul, 'default', 'f32');
    await expect(open(true)).rejects.toThrow(/not here/);
    expect(closed).toBe(1);
    const subject = await open(false);
    expect(await subject.run(3)).toBe(9);
    await subject.dispose();
    expect(closed).toBe(2);
  });
});
