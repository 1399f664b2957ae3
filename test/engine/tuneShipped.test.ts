import { describe, expect, it } from 'vitest';
import type { ShippedAdapter } from '../../src/engine/index.ts';
import { shippedTuning, traitsOf } from '../../src/engine/shippedTuning.ts';
import { parseTuning } from '../../src/engine/tuneStore.ts';
import { clock, memory, open, record } from './tuning.ts';

describe('what comes with the library', () => {
  /** An entry for the one class of {@link record}, as an adapter like this would have it. */
  async function ship(way: string, changes: Partial<ShippedAdapter['match']> = {}, version?: string) {
    const store = memory();
    const device = await open({ mode: 'full', store, time: clock(way) });
    await device.tuner.settle(record());
    const [[key, entry]] = [...parseTuning(store.text!)];
    const adapter: ShippedAdapter = {
      about: 'this one',
      match: { ...traitsOf(device), ...changes },
      entries: { [key]: { way, version: version ?? entry.version } },
    };
    device.dispose();
    return { key, shipped: async () => [adapter] };
  }

  it.each(['cached', 'full'] as const)('is taken in mode %s where nothing was measured here', async (mode) => {
    const { key, shipped } = await ship('winograd4 0');
    const store = memory();
    const time = clock('plain');
    const device = await open({ mode, store, time, shipped });
    expect((await device.tuner.settle(record())).get(key)).toBe('winograd4 0');
    expect(device.tuner.report).toMatchObject({ shipped: 1, cached: 0, measured: 0, usual: 0, problems: [] });
    expect(time.calls).toEqual([]);
    expect(store.writes).toBe(0);
    await device.tuner.settle(record());
    expect(device.tuner.report.shipped).toBe(1);
    device.dispose();
  });

  it('comes after what was measured here', async () => {
    const { key, shipped } = await ship('winograd4 0');
    const store = memory();
    const first = await open({ mode: 'full', store, time: clock('winograd2 0'), shipped: false });
    await first.tuner.settle(record());
    const second = await open({ mode: 'cached', store, shipped });
    expect((await second.tuner.settle(record())).get(key)).toBe('winograd2 0');
    expect(second.tuner.report).toMatchObject({ cached: 1, shipped: 0 });
    for (const device of [first, second]) device.dispose();
  });

  it.each<[string, Partial<ShippedAdapter['match']>, string?]>([
    ['another adapter', { vendor: 'another' }],
    ['another width of subgroups', { subgroupSize: 64 }],
    ['other features', { f16: 'perhaps' as never }],
    ['other kernels', {}, 'older'],
  ])('is left alone where it is of %s', async (_, changes, version) => {
    const { key, shipped } = await ship('winograd4 0', changes, version);
    const cached = await open({ mode: 'cached', shipped });
    expect((await cached.tuner.settle(record())).get(key)).toBeUndefined();
    expect(cached.tuner.report).toMatchObject({ shipped: 0, usual: 1, problems: [] });
    const full = await open({ mode: 'full', shipped, time: clock('plain') });
    expect((await full.tuner.settle(record())).get(key)).toBe('plain');
    for (const device of [cached, full]) device.dispose();
  });

  it('is not asked for when off or unwanted, and done without where it cannot be had', async () => {
    const asked = () => Promise.reject(new Error('not served'));
    const off = await open({ mode: 'off', shipped: asked });
    await off.tuner.settle(record());
    expect(off.tuner.report.problems).toEqual([]);
    const device = await open({ mode: 'cached', shipped: asked });
    expect((await device.tuner.settle(record())).get('anything')).toBeUndefined();
    expect(device.tuner.report.problems).toEqual(['tune: what comes with the library is ignored: not served']);
    for (const d of [off, device]) d.dispose();
  });

  it('is whole', async () => {
    for (const { about, match, entries } of await shippedTuning()) {
      expect(about).not.toBe('');
      expect(Object.keys(match).sort()).toEqual([
        'architecture',
        'f16',
        'matrices',
        'software',
        'subgroupSize',
        'vendor',
      ]);
      for (const entry of Object.values(entries)) {
        expect(entry).toEqual({ way: expect.any(String), version: expect.any(String) });
      }
    }
  });
});
