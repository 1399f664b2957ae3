/** Cases recorded from original research code, as tests use them. */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Directory } from '../../../src/loading/index.ts';
import { parsePythonJson } from '../../../src/loading/json.ts';
import { pathDirectory } from '../../../src/node/fileSource.ts';
import type { CaseResult } from '../../../src/node/parity/original/recorded.ts';

const folder = fileURLToPath(new URL('../../fixtures/original/', import.meta.url));

/** Names of the recorded cases that match. */
export function caseNames(pattern: RegExp): string[] {
  return readdirSync(folder).filter((name) => pattern.test(name));
}

export function openCase(name: string): Directory {
  return pathDirectory(folder).folder(name);
}

/** The same case with another config, however it is read. */
export function spoilt<Config>(dir: Directory, change: (config: Config) => void): Directory {
  const json = async (path: string): Promise<unknown> => {
    const config = parsePythonJson(await dir.text(path), path) as Config;
    change(config);
    return config;
  };
  const text = async (path: string): Promise<string> => JSON.stringify(await json(path));
  const changed: Record<PropertyKey, unknown> = { json, text };
  return new Proxy(dir, { get: (target, key) => changed[key] ?? Reflect.get(target, key).bind(target) });
}

export async function expectCase(run: (dir: Directory) => Promise<CaseResult>, name: string): Promise<void> {
  const { error, tolerance } = await run(openCase(name));
  if (process.env.SHOW_PARITY) console.log(`${name} ${error.toExponential(1)} ${tolerance.toExponential(1)}`);
  expect(error).toBeLessThanOrEqual(tolerance);
}
