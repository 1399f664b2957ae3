import { expect, test } from 'vitest';
import { runOriginalCase } from '../../../src/node/parity/original/index.ts';
import { expectCase, openCase, spoilt } from './cases.ts';

test.each(['c-iddpm-steps', 'i-k-external'])('%s finds what replays it', (name) =>
  expectCase((dir) => runOriginalCase(dir), name),
);

test('a call that nothing answers is named', () => {
  const wrong = spoilt<object>(openCase('i-k-sigmas'), () => {});
  const text = async (): Promise<string> => '{"call": "elsewhere()"}';
  const dir = new Proxy(wrong, { get: (target, key) => (key === 'text' ? text : Reflect.get(target, key)) });
  return expect(runOriginalCase(dir)).rejects.toThrow(/elsewhere/);
});
