/** `npm run bench`: options in, a table and files out. Built and started by run.mjs. */
import { CommanderError } from 'commander';
import { readFileSync, writeFileSync } from 'node:fs';
import { EXIT, report as reportError, UsageError } from '../src/node/cli/exit.ts';
import { onInterrupt } from '../src/node/cli/interrupt.ts';
import { processTerminal, type Terminal } from '../src/node/cli/terminal.ts';
import { compareReports } from './baseline.ts';
import { main as commitMain } from './commit/main.ts';
import { runBench } from './index.ts';
import { parseOptions } from './options.ts';
import { main as allMain } from './pack/all.ts';
import { main as reportMain } from './report/main.ts';
import { reportPage } from './report/html.ts';
import { readReport } from './result.ts';
import { reportTable } from './table.ts';
import { main as tuneMain } from './tune/main.ts';

/** @returns exit status: 0 done, 1 a case failed or became slower, 2 wrong option, 130 stopped */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const interrupt = onInterrupt();
  try {
    const options = parseOptions(argv, (line) => terminal.note(line));
    // Read first: a wrong file should not be found out after an hour of measuring.
    const { baseline: file } = options;
    const baseline = file === undefined ? undefined : readReport(readFileSync(file, 'utf8'), file);
    const report = await runBench({ ...options, signal: interrupt.signal, note: (line) => terminal.note(line) });
    if (report.results.length + report.failures.length === 0) {
      throw new UsageError(`--only: expected a pattern that fits some case, got "${options.only}"`);
    }
    // Written before the comparison, which may refuse: an hour of measuring is not lost to it.
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    const { changes, broken } = baseline ? compareReports(report, baseline) : { changes: [], broken: [] };
    terminal.out(reportTable(report, changes));
    if (options.html !== undefined) writeFileSync(options.html, await reportPage(report, changes));
    if (report.stopped) terminal.note('stopped: groups that were not done are not in the report');
    const slower = changes.filter((c) => c.verdict === 'slower');
    for (const c of slower) terminal.note(`slower than the baseline: ${c.name} ${c.dtype}: × ${c.ratio.toFixed(2)}`);
    for (const name of broken) terminal.note(`measured in the baseline, failed now: ${name}`);
    if (report.stopped) return EXIT.interrupted;
    return slower.length + report.failures.length > 0 ? EXIT.failure : EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return reportError(error, terminal, '`--help` lists the options');
  } finally {
    interrupt.dispose();
  }
}

const COMMANDS = { bench: main, report: reportMain, all: allMain, commit: commitMain, tune: tuneMain };

/** Dawn's threads never end on their own, so the exit has to be explicit. */
export async function start(command: keyof typeof COMMANDS = 'bench', argv = process.argv.slice(2)): Promise<never> {
  const status = await COMMANDS[command](argv, processTerminal());
  await new Promise<void>((written) => process.stdout.write('', () => written()));
  process.exit(status);
}
