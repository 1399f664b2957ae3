import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { strideOf, truthError } from '../../bench/models/truth.ts';
import { makeGraphWeights, transpose } from '../../bench/peers/graphWeights.ts';
import { offsetOf, seededValues, seededWeight, seededWeights } from '../../bench/seeded.ts';
import { expectClose, F64 } from '../support/close.ts';

const folder = mkdtempSync(join(tmpdir(), 'daguerre-seeded-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('seeded values', () => {
  // Printed by bench/peers/seeded.py.
  test('are those that the exporter makes', () => {
    expect(offsetOf('conv_in.weight')).toBe(58721);
    const matrix = seededWeight('conv_in.weight', [3, 2, 3, 3]);
    expect([...matrix.subarray(0, 4)]).toEqual([0.220458984375, 0.13623046875, 0.36279296875, 0.2010498046875]);
    const scale = [0.7900390625, 1.095703125, 1.09765625, 0.748046875, 0.97119140625];
    expect([...seededWeight('norm.weight', [5])]).toEqual(scale);
    expect([...seededWeight('norm.bias', [3])]).toEqual([-0.06396484375, -0.06512451171875, -0.0014142990112304688]);
    const sample = [-0.37737053632736206, -0.7618829607963562, -1.1026802062988281];
    expect([...seededValues('sample', 3)]).toEqual(sample);
  });

  test('repeat with a prime period', () => {
    const values = seededValues('sample', 2 * 65537 + 1);
    expect(values[65537]).toBe(values[0]);
    expect(values.at(-1)).toBe(values[0]);
    expect(values[1]).not.toBe(values[0]);
  });

  test('are read by rows as by whole weights', async () => {
    const source = seededWeights(new Map([['a.weight', [4, 3]]]));
    const whole = await source.read('a.weight');
    expect(await source.read('a.weight', { rows: [1, 3] })).toEqual(whole.subarray(3, 9));
    expect(source.info('b')).toBeUndefined();
  });
});

describe('the weights of an exported graph', () => {
  const describeWeights = () => {
    const part = { key: 'a.weight', shape: [2, 3], transposed: false, offset: 0, bytes: 24 };
    const parts = [part, { ...part, transposed: true, offset: 4096 }];
    writeFileSync(join(folder, 'exported.json'), JSON.stringify({ bytes: 8192, parts }));
  };

  test('are made where its description says, transposed where the exporter did so', () => {
    describeWeights();
    const bytes = readFileSync(makeGraphWeights(folder, 'exported'));
    const at = (offset: number) => new Float32Array(Uint8Array.from(bytes.subarray(offset, offset + 24)).buffer);
    const weight = seededWeight('a.weight', [2, 3]);
    expect(at(0)).toEqual(weight);
    expect(at(4096)).toEqual(transpose(weight, 2, 3));
    expect(at(4096)[1]).toBe(weight[3]);
  });

  test('are kept until the graph is exported again', () => {
    const file = makeGraphWeights(folder, 'exported');
    writeFileSync(file, 'kept');
    expect(readFileSync(makeGraphWeights(folder, 'exported'), 'utf8')).toBe('kept');
    describeWeights();
    utimesSync(file, 0, 0);
    expect(readFileSync(makeGraphWeights(folder, 'exported')).length).toBe(4096 + 24);
  });
});

describe('what PyTorch recorded', () => {
  test('is every so many values of an output, an odd number', () => {
    expect([16384, 16385, 49152, 32769].map(strideOf)).toEqual([1, 3, 3, 3]);
  });

  test('is compared with those values', () => {
    const out = Float32Array.from({ length: 40000 }, (_, i) => 1 + (i % 7));
    const kept = out.filter((_, i) => i % 3 === 0);
    expect(truthError(out, kept)).toBe(0);
    const double = out.map((v) => 2 * v);
    expectClose([truthError(double, kept)], [1], F64);
    expect(truthError(out, kept.subarray(1))).toBe(Infinity);
    out[3] = NaN;
    expect(truthError(out, kept)).toBe(Infinity);
  });
});
