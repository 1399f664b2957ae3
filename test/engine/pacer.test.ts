import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Device } from '../../src/engine/index.ts';
import { Pacer } from '../../src/engine/pacer.ts';

const NOTHING = {} as GPUCommandBuffer;

/**
 * A queue that does one piece after the other, `perMs` cost units in a millisecond, on a clock that the test advances.
 */
function fakeQueue(perMs: number) {
  let freeAt = 0;
  let next = 0;
  let waiting = 0;
  let most = 0;
  const queue = {
    submit: () => undefined,
    onSubmittedWorkDone: () => {
      freeAt = Math.max(freeAt, performance.now()) + next / perMs;
      most = Math.max(most, ++waiting);
      return new Promise<void>((resolve) =>
        setTimeout(() => {
          waiting--;
          resolve();
        }, freeAt - performance.now()),
      );
    },
  };
  const device = { caps: { software: true }, gpu: { queue }, check: () => undefined } as unknown as Device;
  const pacer = new Pacer(device);
  const submit = (cost: number) => {
    next = cost;
    return pacer.submit(NOTHING, cost);
  };
  return { pacer, submit, most: () => most };
}

describe('bounded submits', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'performance'], shouldAdvanceTime: false }));
  afterEach(() => void vi.useRealTimers());

  /**
   * Hands in `count` pieces as large as the budget allows at the time, or of `cost`; resolves to the time they took.
   */
  async function handIn({ pacer, submit }: ReturnType<typeof fakeQueue>, count: number, cost?: number) {
    const start = performance.now();
    const all = (async () => {
      for (let i = 0; i < count; i++) await submit(cost ?? pacer.budget);
    })();
    let ended = false;
    void all.then(() => (ended = true));
    while (!ended) await vi.advanceTimersByTimeAsync(1);
    return performance.now() - start;
  }

  it.each([1e6, 5e7, 1e10])('learns a rate of %d to a tenth, also from the usual guess', async (rate) => {
    const queue = fakeQueue(rate);
    await handIn(queue, 40);
    expect(queue.pacer.rate / rate).toBeGreaterThan(0.9);
    expect(queue.pacer.rate / rate).toBeLessThan(1.1);
  });

  it('keeps no more than two pieces of full size in the queue', async () => {
    const queue = fakeQueue(2e6);
    await handIn(queue, 10);
    expect(queue.most()).toBe(2);
  });

  it('lets a few small ones queue, and waits now and then, for a page wants to live', async () => {
    const queue = fakeQueue(2e6);
    const took = await handIn(queue, 100, 2e6);
    expect(queue.most()).toBeGreaterThan(2);
    expect(queue.most()).toBeLessThanOrEqual(9);
    expect(took).toBeGreaterThan(80);
  });

  it('queues two at a time of those that are not small', async () => {
    const queue = fakeQueue(2e6);
    await handIn(queue, 30, 2e6 * 13);
    expect(queue.most()).toBe(2);
  });

  it('is not misled by an end that no time was measured to: the rate at most doubles', async () => {
    const queue = fakeQueue(1e12);
    const { rate } = queue.pacer;
    await queue.submit(1e12);
    await vi.advanceTimersByTimeAsync(2);
    expect(queue.pacer.rate).toBe(2 * rate);
  });

  it('goes on when the device is lost: the check says so, not a wait that never ends', async () => {
    const check = vi.fn();
    const onSubmittedWorkDone = () => Promise.reject(new Error('lost'));
    const gpu = { queue: { submit: () => undefined, onSubmittedWorkDone } };
    const pacer = new Pacer({ caps: { software: true }, gpu, check } as unknown as Device);
    for (let i = 0; i < 12; i++) await pacer.submit(NOTHING, pacer.budget);
    expect(check).toHaveBeenCalledTimes(12);
  });
});
