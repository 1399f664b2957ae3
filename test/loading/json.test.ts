import { expect, test } from 'vitest';
import { ConfigError, FormatError } from '../../src/engine/errors.ts';
import { ConfigReader } from '../../src/loading/configReader.ts';
import { filesDirectory } from '../../src/loading/directory.ts';
import { parseJson, parsePythonJson } from '../../src/loading/json.ts';
import { readConfig } from '../../src/loading/component.ts';
import { expectError } from './files.ts';

test('words that Python writes are numbers, and strings stay what they are', () => {
  const text = '{"a": -Infinity, "b": [Infinity, NaN, -1.5], "NaN": "NaN \\" -Infinity"}';
  expect(parsePythonJson(text, 'x')).toEqual({ a: -Infinity, b: [Infinity, NaN, -1.5], NaN: 'NaN " -Infinity' });
  expect(parsePythonJson('{"a": 1}', 'x')).toEqual({ a: 1 });
  expect(parsePythonJson('NaN', 'x')).toBeNaN();
});

test.each(['{', '-NaN', '1Infinity', 'Infinity5', '[1-Infinity]', '+Infinity', 'nan', '"Infinity', '{NaN: 1}'])(
  '%s is refused',
  async (text) => {
    await expectError(() => parsePythonJson(text, 'x'), FormatError, /^x: expected JSON/);
  },
);

test('a key twice is refused, between words too', async () => {
  await expectError(() => parsePythonJson('{"a": NaN, "a": Infinity}', 'x'), FormatError, /"a" twice/);
});

test('plain JSON knows no such words', async () => {
  await expectError(() => parseJson('{"a": -Infinity}', 'x'), FormatError, /expected JSON/);
});

test('a config may hold them; a field that must be finite names what it got', async () => {
  const json = '{"_class_name": "DDPMScheduler", "lambda_min_clipped": -Infinity, "beta_end": NaN, "x": null}';
  const folder = filesDirectory({ 'config.json': new Blob([json]) }, 'scheduler');
  const config = await readConfig(folder, 'DDPMScheduler');
  expect(config).toMatchObject({ lambda_min_clipped: -Infinity, beta_end: NaN, x: null });
  const reader = new ConfigReader(config, 'DDPMScheduler');
  await expectError(() => reader.number('beta_end'), ConfigError, /got NaN; /);
  // JSON.stringify would show it as the null that is allowed here.
  await expectError(() => reader.only('lambda_min_clipped', null), ConfigError, /got -Infinity; /);
});
