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
