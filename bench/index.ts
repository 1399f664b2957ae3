/** The bench: what runs where, and what comes of it. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../src/node/setup/cacheFolder.ts';
import { runInChromium } from './chromium.ts';
import { foldersOf, runInNode } from './node.ts';
import type { BenchReport } from './result.ts';
import type { Selection } from './select.ts';

export interface RunBenchOptions extends Selection {
  host: 'node' | 'chromium';
  /** See `BenchOptions`. */
  adapter: string;
  /** Names of other runtimes to measure beside ours; default all that are installed. */
  peers?: readonly string[];
  /** Folder of the built page, for Chromium; default `.bench/page` of the package. */
  page?: string;
  signal?: AbortSignal;
  /** A line about the work, now and then. */
  note?(line: string): void;
}

/**
 * Checks and measures the selected cases.
 * @throws AdapterError where the adapter or browser cannot be had, NotFoundError without model or page, AbortedError
 */
export async function runBench(options: RunBenchOptions): Promise<BenchReport> {
  const root = packageRoot();
  const { host, adapter, peers, signal, note, suites, only, dtypes, reps, budgetMs, variants, tune, quick } = options;
  const selection: Selection = { suites, only, dtypes, reps, budgetMs, variants, tune, quick };
  const context = { folders: foldersOf(root), adapter, peers, signal, note };
  const date = new Date().toISOString();
  const core =
    host === 'node'
      ? await runInNode(selection, context)
      : await runInChromium(selection, context, options.page ?? join(root, '.bench', 'page'));
  return { commit: commitOf(root), host, date, tuned: tune ?? false, ...core };
}

/**
 * Short hash of the checkout, `+` where tracked files were changed; without a checkout what a pack says, or the
 * version.
 */
export function commitOf(root: string): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? '+' : '');
  } catch {
    const about = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string; commit?: string };
    return about.commit ?? `v${about.version}`;
  }
}
