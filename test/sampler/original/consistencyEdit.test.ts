import { describe, expect, test } from 'vitest';
import { runOriginalCase } from '../../../src/node/parity/original/index.ts';
import { runConsistencyEdit } from '../../../src/node/parity/original/consistencyEdit.ts';
import { caseNames, expectCase, openCase, spoilt } from './cases.ts';

describe('zero-shot editing, recorded from consistency models', () => {
  test.each(caseNames(/^h-cm-edit-/))('%s', (name) => expectCase(runOriginalCase, name));

  test.each(['h-cm-edit-colorization', 'h-cm-edit-superres'])('%s: another picture is seen', async (name) => {
    const change = (c: { config: { sd: number } }): void => void (c.config.sd *= 1.001);
    const { error, tolerance } = await runConsistencyEdit(spoilt(openCase(name), change));
    expect(error).toBeGreaterThan(tolerance);
  });
});
