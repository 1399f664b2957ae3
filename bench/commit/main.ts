/**
 * `npm run bench:commit`: what a commit of this repository changed, by its own bench and that of the commit before it,
 * in turns. Started by ../run.mjs.
 */
import { Command, CommanderError } from 'commander';
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AbortedError, DaguerreError } from '../../src/engine/errors.ts';
import { EXIT, report as reportError, UsageError } from '../../src/node/cli/exit.ts';
import { onInterrupt } from '../../src/node/cli/interrupt.ts';
import { whole } from '../../src/node/cli/options.ts';
import type { Terminal } from '../../src/node/cli/terminal.ts';
import { cacheFolder, packageRoot } from '../../src/node/setup/cacheFolder.ts';
import { readReport, type BenchReport } from '../result.ts';
import { align } from '../table.ts';
import { commitRows } from './compare.ts';

interface Options {
  rounds: number;
}

/** @returns exit status: 0 done, 1 a bench failed, 2 wrong option, 130 stopped */
export async function main(argv: readonly string[], terminal: Terminal, root = packageRoot()): Promise<number> {
  const interrupt = onInterrupt();
  try {
    const program = new Command('npm run bench:commit --')
      .description('Runs the benches of a commit and of the one before it, or of two, in turns, and says what changed.')
      .argument('<commit>', 'anything that git takes for one, or two of them, FROM..TO')
      .argument('[options...]', 'those of the bench at that commit, such as --node --suite kernels --only matmul')
      .option(
        '--rounds <n>',
        'times that each is run, in front of the commit; 6 make an interval',
        whole('--rounds', 1, 99),
        3,
      )
      .passThroughOptions()
      .allowUnknownOption()
      .exitOverride()
      .configureOutput({ writeOut: (s) => terminal.note(s.trimEnd()), writeErr: (s) => terminal.note(s.trimEnd()) });
    const [commit, ...rest] = program.parse([...argv], { from: 'user' }).args;
    const { rounds } = program.opts<Options>();
    const { before, after } = await inTurns(root, commit, rounds, rest, interrupt.signal, terminal);
    terminal.out(align(commitRows({ before, after })).join('\n'));
    terminal.out(
      `before ${before[0].commit}, after ${after[0].commit}; ${after[0].adapter}, in turns, ${rounds} of each`,
    );
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return reportError(error, terminal, '`--help` lists the options');
  } finally {
    interrupt.dispose();
  }
}

/** Each side in a work tree of its own, which is gone afterwards. Which of the two is first alternates. */
async function inTurns(
  root: string,
  commit: string,
  rounds: number,
  options: readonly string[],
  signal: AbortSignal,
  terminal: Terminal,
): Promise<Record<'before' | 'after', BenchReport[]>> {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: 'pipe' }).trim();
  const [from, to] = commit.includes('..') ? commit.split('..') : [`${commit}~`, commit];
  const revisions = { before: resolve(git, from), after: resolve(git, to) };
  const folder = mkdtempSync(join(tmpdir(), 'daguerre-commit-'));
  const reports: Record<'before' | 'after', BenchReport[]> = { before: [], after: [] };
  const env = { ...process.env, DAGUERRE_CACHE: cacheFolder() };
  try {
    for (const side of ['before', 'after'] as const) {
      git('worktree', 'add', '--detach', join(folder, side), revisions[side]);
      symlinkSync(join(root, 'node_modules'), join(folder, side, 'node_modules'));
    }
    for (let round = 0; round < rounds; round++) {
      for (const side of round % 2 === 0 ? (['before', 'after'] as const) : (['after', 'before'] as const)) {
        terminal.note(`round ${round + 1} of ${rounds}, ${side}`);
        const file = join(folder, `${side}-${round}.json`);
        const argv = ['bench/run.mjs', ...options, '--peers', 'none', '--json', file];
        const status = await run(argv, join(folder, side), env, signal);
        if (signal.aborted) throw new AbortedError('bench:commit: stopped');
        if (status !== EXIT.ok)
          throw new DaguerreError(`bench:commit: the bench of ${revisions[side]} ended with ${status}`);
        reports[side].push(readReport(readFileSync(file, 'utf8'), file));
      }
    }
    return reports;
  } finally {
    rmSync(folder, { recursive: true, force: true });
    git('worktree', 'prune');
  }
}

function resolve(git: (...args: string[]) => string, revision: string): string {
  try {
    return git('rev-parse', '--verify', '--short', `${revision}^{commit}`);
  } catch {
    throw new UsageError(`bench:commit: expected a commit of this repository, and one before it, got "${revision}"`);
  }
}

/** Its table is of no interest, what it says about the work is. */
function run(
  argv: readonly string[],
  cwd: string,
  env: NodeJS.ProcessEnv,
  signal: AbortSignal,
): Promise<number | null> {
  const child = spawn(process.execPath, argv, { cwd, env, stdio: ['ignore', 'ignore', 'inherit'] });
  const stop = () => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  return new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).finally(() => signal.removeEventListener('abort', stop));
}
