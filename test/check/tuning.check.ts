/** What ships as the fastest ways (src/engine/tuned.json) was measured with the kernels as they are. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { staleOf } from '../../bench/tune/main.ts';
import { shippedTuning } from '../../src/engine/shippedTuning.ts';
import { pathDirectory } from '../../src/node/fileSource.ts';

it('ships tuning of these kernels', async () => {
  const stale = await staleOf(await shippedTuning(), pathDirectory(join(process.cwd(), 'weights')));
  const lines = stale.flatMap(([{ about }, keys]) => keys.map((key) => `${about}: ${key}`));
  expect(
    lines,
    'entries of kernels that have changed are ignored; measure again with npm run tune -- --adapter NAME on a quiet ' +
      'machine, or take them out with npm run tune -- --prune',
  ).toEqual([]);
});
