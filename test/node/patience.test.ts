/** Waiting for the GPU leaves the processor to whoever computes on it. */
import { expect, test, vi } from 'vitest';
import { beSparing } from '../../src/node/patience.ts';

/** Turns of an event loop that is kept turning, as Dawn keeps it, until a promise is settled. */
async function turnsUntil(promise: Promise<unknown>): Promise<number> {
  let turns = 0;
  let done = false;
  const end = promise.then(
    () => (done = true),
    () => (done = true),
  );
  const turn = () => {
    turns++;
    if (!done) setImmediate(turn);
  };
  turn();
  await end;
  return turns;
}

test('the event loop sleeps between its turns while the GPU works, and no longer', async () => {
  const waited = 100;
  class GPUQueue {
    onSubmittedWorkDone(fails = false): Promise<string> {
      return new Promise((resolve, reject) =>
        setTimeout(() => (fails ? reject(new Error('lost')) : resolve('done')), waited),
      );
    }
  }
  const queue = new GPUQueue();
  const spinning = await turnsUntil(queue.onSubmittedWorkDone());
  beSparing({ GPUQueue });
  beSparing({ GPUQueue }); // once is enough
  const sparing = await turnsUntil(queue.onSubmittedWorkDone());
  expect(sparing).toBeLessThan(spinning / 4);
  await expect(queue.onSubmittedWorkDone()).resolves.toBe('done');
  await expect(queue.onSubmittedWorkDone(true)).rejects.toThrow('lost');
  // Nothing is awaited any more: the loop turns as it did.
  const after = await turnsUntil(new Promise((resolve) => setTimeout(resolve, waited)));
  expect(after).toBeGreaterThan(4 * sparing);
});

test('pieces of the queue are not watched more closely at the beginning of each', async () => {
  // A clock of our own, which goes on by what the loop sleeps and by a little per turn.
  let now = performance.now();
  let sleeps: number[] = [];
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  vi.spyOn(Atomics, 'wait').mockImplementation((...[, , , ms]: unknown[]) => {
    sleeps.push(ms as number);
    now += ms as number;
    return 'timed-out';
  });
  const wait = (ms: number) => {
    const end = now + ms;
    return new Promise<void>((resolve) => {
      const look = () => {
        now += 0.01;
        if (now < end) setImmediate(look);
        else resolve();
      };
      look();
    });
  };
  class GPUQueue {
    onSubmittedWorkDone(ms: number): Promise<void> {
      return wait(ms);
    }
  }
  class GPUBuffer {
    mapAsync(ms: number): Promise<void> {
      return wait(ms);
    }
  }
  const sleepsUntil = async (promise: Promise<void>) => {
    sleeps = [];
    await promise;
    return sleeps;
  };
  try {
    beSparing({ GPUQueue, GPUBuffer });
    const queue = new GPUQueue();
    await queue.onSubmittedWorkDone(50);
    expect(new Set(await sleepsUntil(queue.onSubmittedWorkDone(50)))).toEqual(new Set([1]));
    // What may come at any time is looked for as ever, also while the queue works.
    const working = queue.onSubmittedWorkDone(50);
    expect(Math.min(...(await sleepsUntil(new GPUBuffer().mapAsync(5))))).toBeLessThan(0.1);
    await working;
    // A short piece after long ones is noticed late once, and then expected.
    expect(new Set(await sleepsUntil(queue.onSubmittedWorkDone(2)))).toEqual(new Set([1]));
    expect(Math.max(...(await sleepsUntil(queue.onSubmittedWorkDone(2))))).toBeLessThan(0.2);
  } finally {
    vi.restoreAllMocks();
  }
});
