import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commitRows } from '../../bench/commit/compare.ts';
import { main } from '../../bench/commit/main.ts';
import { report, result } from './reports.ts';

describe('what a commit changed', () => {
  const side = (...ms: number[]) => ms.map((ms) => report({ results: [result({ ms, gpuMs: 2 * ms })] }));

  test('is the median of pairs, and the medians of either side', () => {
    expect(commitRows({ before: side(10, 30, 20), after: side(5, 10, 10) })).toEqual([
      expect.arrayContaining(['case', 'before, ms', 'gain', 'with 95 %']),
      ['matmul/a', 'f32', '20', '10', '40', '20', '50', '50', '× 2.00', '–'],
    ]);
    const [, row] = commitRows({ before: side(...[4, 5, 6, 4, 5, 6]), after: side(...[2, 2, 2, 2, 2, 2]) });
    expect(row.at(-1)).toBe('2.00 … 3.00');
  });

  test('is told of cases alone that either side has', () => {
    const other = report({ results: [result({ name: 'matmul/b' })] });
    expect(commitRows({ before: side(1), after: [other] })).toHaveLength(1);
    expect(commitRows({ before: side(1, 1), after: [...side(1), other] })).toHaveLength(1);
  });
});

describe('bench:commit', () => {
  let root: string;
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: 'pipe' });

  /** A bench that takes so long, says in which order it was asked, and keeps its options. */
  const commit = (ms: number) => {
    const json = JSON.stringify(report({ adapter: `asked for ${ms}`, results: [result({ ms })] }));
    writeFileSync(
      join(root, 'bench', 'run.mjs'),
      `import { appendFileSync, writeFileSync } from 'node:fs';
      const argv = process.argv.slice(2);
      appendFileSync(${JSON.stringify(join(root, 'log.txt'))}, '${ms} ' + argv.slice(0, -1).join(' ') + '\\n');
      if (argv.includes('--fail')) process.exit(1);
      writeFileSync(argv.at(-1), ${JSON.stringify(json)});`,
    );
    git('add', '-A');
    git('-c', 'user.name=a', '-c', 'user.email=a@b', 'commit', '-q', '-m', `${ms}`);
  };

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'daguerre-history-'));
    mkdirSync(join(root, 'bench'));
    mkdirSync(join(root, 'node_modules'));
    git('init', '-q');
    writeFileSync(join(root, '.gitignore'), 'node_modules\nlog.txt\n');
    for (const ms of [8, 4, 1]) commit(ms);
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  async function run(line: string) {
    rmSync(join(root, 'log.txt'), { force: true });
    const said: string[] = [];
    const say = (text: string) => void said.push(text);
    const status = await main(line.split(' '), { out: say, note: say, columns: 80 }, root);
    // Git forgets work trees only where their folders are gone.
    expect(git('worktree', 'list').trim().split('\n')).toHaveLength(1);
    const log = existsSync(join(root, 'log.txt')) ? readFileSync(join(root, 'log.txt'), 'utf8') : '';
    return { status, said: said.join('\n'), log: log.trim().split('\n') };
  }

  test('runs both benches in turns, the first alternating, with the options that follow', async () => {
    const { status, said, log } = await run('--rounds 2 HEAD~ --suite kernels --only a*');
    expect(status).toBe(0);
    const options = '--suite kernels --only a* --peers none --json';
    expect(log).toEqual([`8 ${options}`, `4 ${options}`, `4 ${options}`, `8 ${options}`]);
    expect(said).toMatch(/matmul\/a +f32 +8 +4 .*× 2\.00/);
    expect(said).toMatch(/in turns, 2 of each/);
  });

  test('takes two commits as well', async () => {
    const { log } = await run('--rounds 1 HEAD~2..HEAD');
    expect(log.map((line) => line.split(' ')[0])).toEqual(['8', '1']);
  });

  test('ends where a bench fails, and refuses what has nothing before it', async () => {
    const failed = await run('--rounds 1 HEAD --fail');
    expect([failed.status, failed.log.length]).toEqual([1, 1]);
    expect(failed.said).toMatch(/ended with 1/);
    for (const line of ['HEAD~2', 'nothing', '--rounds 0 HEAD']) {
      const { status, log } = await run(line);
      expect([line, status, log]).toEqual([line, 2, ['']]);
    }
  });
});
