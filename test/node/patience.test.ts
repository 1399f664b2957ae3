/** Waiting for the GPU leaves the processor to whoever computes on it. */
import { expect, test } from 'vitest';
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
  const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
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
  beSparing({ GPUQueue, GPUBuffer });
  const queue = new GPUQueue();
  await queue.onSubmittedWorkDone(50);
  const start = performance.now();
  const turns = await turnsUntil(queue.onSubmittedWorkDone(50));
  // Every turn sleeps for a millisecond; two at the ends may not.
  expect(turns).toBeLessThanOrEqual(performance.now() - start + 2);
  // What may come at any time is looked for as ever, also while the queue works.
  const working = queue.onSubmittedWorkDone(50);
  const began = performance.now();
  expect(await turnsUntil(new GPUBuffer().mapAsync(5))).toBeGreaterThan(performance.now() - began + 2);
  await working;
  // A short piece after long ones is noticed late once, and then expected.
  await queue.onSubmittedWorkDone(2);
  const short = performance.now();
  expect(await turnsUntil(queue.onSubmittedWorkDone(2))).toBeGreaterThan(performance.now() - short + 2);
});
