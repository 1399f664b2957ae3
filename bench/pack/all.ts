/** `run.sh all`: the whole bench of this machine's GPU, in slices that several calls may share. */
import { Command, CommanderError } from 'commander';
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from '../../src/engine/device.ts';
import { AdapterError } from '../../src/engine/errors.ts';
import { openGpu } from '../../src/node/adapter.ts';
import { EXIT, report as reportError, UsageError } from '../../src/node/cli/exit.ts';
import { onInterrupt } from '../../src/node/cli/interrupt.ts';
import { decimal, text, whole } from '../../src/node/cli/options.ts';
import type { Terminal } from '../../src/node/cli/terminal.ts';
import { packageRoot } from '../../src/node/setup/cacheFolder.ts';
import { mergeReports } from '../report/merge.ts';
import { readReport } from '../result.ts';
import { fits } from '../select.ts';
import { reportTable } from '../table.ts';
import { runSlices, stateOf, type SliceState, type Started } from './runSlices.ts';
import { allSlices, type Slice } from './slices.ts';

/** Slices are left for another call. */
export const EXIT_MORE = 3;

interface Options {
  out: string;
  minutes: number;
  most: number;
  adapter: string;
  peers: string;
  only?: string;
  budget: number;
  quick?: boolean;
  again?: boolean;
  list?: boolean;
}

/** @returns exit status: 0 all done, 1 a slice failed, 2 wrong option, 3 call again for what is left, 130 stopped */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const interrupt = onInterrupt();
  try {
    const options = parse(argv, terminal);
    const slices = allSlices().filter(
      ({ name }) => !options.only || options.only.split(',').some((p) => fits(p, name)),
    );
    if (slices.length === 0)
      throw new UsageError(`--only: expected a pattern that fits a slice, got "${options.only}"`);
    if (options.list) {
      for (const slice of slices) terminal.out(`${stateOf(options.out, slice).padEnd(7)} ${slice.name}`);
      return EXIT.ok;
    }
    const { gpu } = await openGpu({ adapter: options.adapter });
    const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) throw new AdapterError(`bench: expected an adapter, got none; VK_LOADER_DEBUG=all says why`);
    terminal.note(`on ${describe(adapter.info)}`);
    const states = await runSlices(slices, {
      folder: options.out,
      budgetMs: 60_000 * options.minutes,
      mostMs: 60_000 * options.most,
      again: options.again,
      signal: interrupt.signal,
      note: (line) => terminal.note(line),
      start: (slice, file) => startBench(benchArguments(slice, options, file)),
    });
    show(slices, states, options.out, terminal);
    if (interrupt.signal.aborted) return EXIT.interrupted;
    const found = new Set(states.values());
    return found.has('left') ? EXIT_MORE : found.has('failed') ? EXIT.failure : EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return reportError(error, terminal, '`--help` lists the options');
  } finally {
    interrupt.dispose();
  }
}

function parse(argv: readonly string[], terminal: Terminal): Options {
  const program = new Command('run.sh all')
    .description('Runs the whole bench in slices; call it again for what is left.')
    .option('--out <folder>', 'reports, one for each slice, and all.json', text('--out', 'a folder'), 'results')
    .option('--minutes <n>', 'that this call may take, 2 to 1000', decimal('--minutes', 2, 1000), 9)
    .option('--most <n>', 'minutes that a slice may take, 1 to 1000', decimal('--most', 1, 1000), 4)
    .option('-a, --adapter <name>', 'as of the bench', text('--adapter', 'a name'), 'hardware')
    .option('--peers <names>', 'as of the bench', text('--peers', 'names'), 'onnxruntime,torch')
    .option(
      '--only <globs>',
      'slices whose names fit, such as "models-*"; several by commas',
      text('--only', 'a pattern'),
    )
    .option('--budget <s>', 'seconds that a case, or a peer of it, may take, 1 to 3600', whole('--budget', 1, 3600), 4)
    .option('--quick', 'the smallest cases alone, three times each')
    .option('--again', 'try again what has failed')
    .option('--list', 'say what is done and what is left, and run nothing')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: (s) => terminal.note(s.trimEnd()), writeErr: (s) => terminal.note(s.trimEnd()) });
  return program.parse([...argv], { from: 'user' }).opts<Options>();
}

const benchArguments = ({ args }: Slice, o: Options, file: string): string[] => [
  ...['--node', '--adapter', o.adapter, '--peers', o.peers, '--budget', `${o.budget}`, '--json', file],
  ...args,
  ...(o.quick ? ['--quick'] : []),
];

/** The bench in a process of its own; what it says goes on to who watches. */
function startBench(argv: readonly string[]): Started {
  const child = spawn(process.execPath, [join(packageRoot(), '.bench', 'node', 'start.js'), ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      process.stderr.write(chunk);
    });
  }
  return {
    ended: new Promise((resolve) => {
      child.once('error', (error) => resolve({ status: null, said: `${said}\n${error.message}` }));
      child.once('close', (status, signal) => resolve({ status, said: signal ? `${said}\n${signal}` : said }));
    }),
    stop: () => void child.kill('SIGTERM'),
    kill: () => void child.kill('SIGKILL'),
  };
}

/** One report of what is done, and a line about the rest. */
function show(
  slices: readonly Slice[],
  states: ReadonlyMap<string, SliceState>,
  out: string,
  terminal: Terminal,
): void {
  const named = (state: SliceState) => slices.map(({ name }) => name).filter((name) => states.get(name) === state);
  const reports = named('done').flatMap((name) => {
    const file = join(out, `${name}.json`);
    const report = readReport(readFileSync(file, 'utf8'), file);
    return report.results.length + report.failures.length ? [report] : [];
  });
  if (reports.length) {
    const whole = mergeReports(reports);
    writeFileSync(join(out, 'all.json'), `${JSON.stringify(whole, null, 1)}\n`);
    terminal.out(reportTable(whole));
  }
  for (const name of named('failed')) terminal.note(`failed: ${name}; see ${join(out, `${name}.failed.txt`)}, --again`);
  const [left, done] = [named('left'), named('done')];
  terminal.note(`${done.length} slices done, ${left.length} left${left.length ? ': call again' : ''}`);
}
