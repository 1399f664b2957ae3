import { describe, expect, test } from 'vitest';
import { restBy } from '../../bench/settle.ts';

/** A machine on which the probe takes 4 ms, twice that until `busyUntil`. */
function machine() {
  const state = { clock: 0, busyUntil: 0, runs: 0 };
  const probe = async () => {
    const ms = state.clock < state.busyUntil ? 8 : 4;
    state.clock += ms;
    state.runs++;
    return ms;
  };
  return { state, rest: () => restBy(probe, () => state.clock) };
}

describe('rest between turns', () => {
  test('is there at once on a free machine', async () => {
    const { state, rest } = machine();
    const { settle, waited } = await rest();
    const before = state.runs;
    await settle();
    expect(state.runs - before).toBe(2);
    expect(waited).toEqual({ times: 1, inVain: 0, ms: 8 });
  });

  test('is waited for as long as others work, and a moment longer', async () => {
    const { state, rest } = machine();
    const { settle, waited } = await rest();
    state.busyUntil = state.clock + 100;
    await settle();
    expect(state.clock).toBeGreaterThanOrEqual(state.busyUntil + 8);
    expect(waited).toMatchObject({ times: 1, inVain: 0 });
  });

  test('is not waited for for ever, and less and less where it never comes', async () => {
    const { state, rest } = machine();
    const { settle, waited } = await rest();
    state.busyUntil = Infinity;
    const took: number[] = [];
    for (let i = 0; i < 7; i++) {
      const before = state.clock;
      await settle();
      took.push(state.clock - before);
    }
    expect(took).toEqual([400, 200, 104, 56, 32, 32, 32]);
    expect(waited).toMatchObject({ times: 7, inVain: 7 });
    // Until it has come once: then others may have gone.
    state.busyUntil = state.clock;
    await settle();
    state.busyUntil = state.clock + 300;
    await settle();
    expect(waited).toMatchObject({ times: 9, inVain: 7 });
  });
});
