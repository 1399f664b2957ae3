import { describe, expect, test } from 'vitest';
import { describeOffers, offersOf } from '../../bench/offers.ts';
import { reportPage } from '../../bench/report/html.ts';
import { fillDocument } from '../../bench/report/markdown.ts';
import { mergeReports } from '../../bench/report/merge.ts';
import { reportTable } from '../../bench/table.ts';
import { report, result } from './reports.ts';

const half = { componentType: 'f16', resultComponentType: 'f32', M: 16, N: 16, K: 16 };

/** As Dawn reports: objects whose fields are not their own. */
class Config {
  get componentType() {
    return half.componentType;
  }
  get resultComponentType() {
    return half.resultComponentType;
  }
  get M() {
    return half.M;
  }
  get N() {
    return half.N;
  }
  get K() {
    return half.K;
  }
}

const features = new Set(['subgroups', 'shader-f16', 'bgra8unorm-storage', 'chromium-experimental-subgroup-matrix']);
const info = { subgroupMinSize: 32, subgroupMaxSize: 32, subgroupMatrixConfigs: [new Config()] };
const card = offersOf({ features, info: info as never });

describe('what an adapter offers', () => {
  test('is plain data', () => {
    expect(JSON.parse(JSON.stringify(card))).toEqual({
      features: ['bgra8unorm-storage', 'chromium-experimental-subgroup-matrix', 'shader-f16', 'subgroups'],
      subgroupSizes: [32, 32],
      matrixConfigs: [half],
    });
  });

  test('may be little', () => {
    const none = offersOf({ features: [], info: {} as never });
    expect(none).toEqual({ features: [], subgroupSizes: null, matrixConfigs: [] });
    expect(describeOffers(none)).toBe('Features: none that is used. Subgroup matrices: none.');
  });

  test('is said where a report says where it ran', async () => {
    const words = 'Features: f16, subgroups of 32, subgroup matrices. Subgroup matrices: f16 → f32 16×16×16.';
    const whole = mergeReports([report({ ...card, results: [result({})] })]);
    expect(describeOffers({ ...card, subgroupSizes: [8, 32] })).toContain('subgroups of 8–32');
    expect(reportTable(whole)).toContain(words);
    expect(fillDocument('<!-- bench:a where --><!-- /bench -->', 'a', whole)).toContain(words);
    expect(await reportPage(whole)).toContain(words);
  });

  test('is left out of reports of before', () => {
    const before = report({ results: [result({})] });
    expect(reportTable(before)).not.toContain('Features');
    expect(fillDocument('<!-- bench:a where --><!-- /bench -->', 'a', before)).not.toContain('Features');
  });
});
