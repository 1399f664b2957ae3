import { describe, expect, test } from 'vitest';
import { clearlyFaster, measureGraph, WORTH, WORTH_SHARE } from '../../bench/tune/measure.ts';
import { capabilitiesOf, staleKeys, versionsOf, withFound, withoutKeys } from '../../bench/tune/shipped.ts';
import { Device, Graph, type ShippedAdapter } from '../../src/engine/index.ts';
import { traitsOf } from '../../src/engine/shippedTuning.ts';
import { conv2d } from '../../src/kernels/index.ts';
import { getGpu } from '../support/gpu.ts';

/** A map that several ways can convolve. */
function record(channels = 16): Graph {
  const g = new Graph();
  const x = g.input('x', [1, 8, 8, channels], { layout: 'rows' });
  g.output('y', conv2d(x, { key: 'w', shape: [channels, channels, 3, 3] }, undefined, { padding: 1 }));
  return g;
}

describe('a way that is clearly faster', () => {
  const usual = [10, 10, 12];

  test('is so every time, and the fastest of those', () => {
    expect(clearlyFaster({ usual, a: [8, 8, 9], b: [7, 7, 8] }, 'usual')).toBe('b');
    expect(clearlyFaster({ usual, a: [8, 8, 11], b: [5, 10, 5] }, 'usual')).toBeUndefined();
    expect(clearlyFaster({ usual, a: usual.map((ms) => WORTH * ms) }, 'usual')).toBe('a');
  });

  test('is none where the usual way was not timed', () => {
    expect(clearlyFaster({ a: [1] }, 'usual')).toBeUndefined();
  });
});

describe('measuring', () => {
  test('keeps of each class what is worth it with its version', async () => {
    const device = await Device.open({ gpu: await getGpu('null'), tune: { mode: 'off' } });
    let calls = 0;
    const time = async (_: Device, ways: ReadonlyMap<string, unknown>) => {
      calls++;
      return Object.fromEntries([...ways.keys()].map((way) => [way, way === 'winograd4 0' ? 1 : 2]));
    };
    const options = { repetitions: 3, time: time as never };
    const found = await measureGraph(device, record(), new Set(), options);
    const [[key, entry]] = [...found];
    expect(calls).toBe(3);
    expect(entry).toEqual({ way: 'winograd4 0', version: versionsOf([record()], device.caps).get(key) });
    expect(await measureGraph(device, record(), new Set([key]), options)).toEqual(new Map());
    device.dispose();
  });

  test('lets the usual way stay where it could not be timed', async () => {
    const device = await Device.open({ gpu: await getGpu('null'), tune: { mode: 'off' } });
    const notes: string[] = [];
    const found = await measureGraph(device, record(), new Set(), {
      repetitions: 1,
      time: (async () => ({ 'winograd4 0': 1 })) as never,
      note: (line) => notes.push(line),
    });
    expect([...found.values()]).toEqual([undefined]);
    expect(notes).toEqual([expect.stringMatching(/: not timed, usual .* ms: winograd4 0 1\.00$/)]);
    device.dispose();
  });

  test('lets the usual way stay where little is saved in all', async () => {
    const device = await Device.open({ gpu: await getGpu('null'), tune: { mode: 'off' } });
    const g = record();
    const x = g.input('large', [1, 64, 64, 128], { layout: 'rows' });
    g.output('z', conv2d(x, { key: 'v', shape: [128, 128, 3, 3] }, undefined, { padding: 1 }));
    // The small one takes half as long in another way, which is little beside the large one.
    const little = (1000 * WORTH_SHARE) / 2;
    let calls = 0;
    const time = async (_: Device, ways: ReadonlyMap<string, unknown>) => {
      // Classes come in the order of their work.
      const ms = calls++ === 0 ? 1000 : little;
      return Object.fromEntries([...ways.keys()].map((way) => [way, way === 'winograd4 0' && calls > 1 ? ms / 2 : ms]));
    };
    const found = await measureGraph(device, g, new Set(), { repetitions: 1, time: time as never });
    expect(found.size).toBe(2);
    expect([...found.values()]).toEqual([undefined, undefined]);
    device.dispose();
  });
});

describe('the file', () => {
  const match: ShippedAdapter['match'] = {
    ...{ vendor: 'v', architecture: 'a', subgroupSize: 8, f16: true, matrices: false, software: true },
  };
  const entry = { way: 'plain', version: '1' };
  const other = { about: 'other', match: { ...match, subgroupSize: 4 }, entries: { z: entry } };
  const before = [other, { about: 'old', match, entries: { b: entry, a: entry } }];

  test('gets what was found, loses what is usual now, and keeps the rest', () => {
    const found = new Map([
      ['b', undefined],
      ['c', { way: 'shared 2', version: '2' }],
    ]);
    expect(withFound(before, { about: 'new', match }, found)).toEqual([
      other,
      { about: 'new', match, entries: { a: entry, c: { way: 'shared 2', version: '2' } } },
    ]);
    expect(withFound([], { about: 'new', match }, found)).toHaveLength(1);
  });

  test('is stale where kernels have changed, or classes are gone, and can be pruned of it', async () => {
    const versions = new Map([
      ['a', '1'],
      ['b', '2'],
    ]);
    const adapter = { ...before[1], entries: { a: entry, b: entry, gone: entry } };
    const stale = staleKeys(adapter, versions);
    expect(stale).toEqual(['b', 'gone']);
    expect(withoutKeys(adapter, stale).entries).toEqual({ a: entry });
  });

  test('is checked without the adapter: the same classes and versions as on a device', async () => {
    const device = await Device.open({ gpu: await getGpu('lavapipe'), tune: { mode: 'off' } });
    const here = versionsOf([record()], device.caps);
    expect(here.size).toBe(1);
    expect(versionsOf([record()], capabilitiesOf(traitsOf(device)))).toEqual(here);
    device.dispose();
  });
});
