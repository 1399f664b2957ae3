/**
 * `npm run tune`: measures what ships with the library for an adapter, and looks after the file. Started by ../run.mjs.
 */
import { Command, CommanderError } from 'commander';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, Device, type ShippedAdapter, type ShippedEntry } from '../../src/engine/index.ts';
import { traitsOf } from '../../src/engine/shippedTuning.ts';
import { openGpu } from '../../src/node/adapter.ts';
import { EXIT, report as reportError, UsageError } from '../../src/node/cli/exit.ts';
import { onInterrupt } from '../../src/node/cli/interrupt.ts';
import { choice, text, whole } from '../../src/node/cli/options.ts';
import type { Terminal } from '../../src/node/cli/terminal.ts';
import { pathDirectory } from '../../src/node/fileSource.ts';
import { packageRoot } from '../../src/node/setup/cacheFolder.ts';
import { commitOf } from '../index.ts';
import { fits } from '../select.ts';
import { tunedGraphs } from './graphs.ts';
import { measureGraph } from './measure.ts';
import { capabilitiesOf, staleKeys, versionsOf, withFound, withoutKeys } from './shipped.ts';

interface Options {
  adapter?: string;
  dtype: 'f32' | 'f16' | 'both';
  only: string;
  repetitions: number;
  check?: boolean;
  prune?: boolean;
}

/** @returns exit status: 0 done, 1 something is stale or failed, 2 wrong option, 130 stopped */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const interrupt = onInterrupt();
  const root = packageRoot();
  const file = join(root, 'src', 'engine', 'tuned.json');
  const read = () => JSON.parse(readFileSync(file, 'utf8')) as ShippedAdapter[];
  const write = (adapters: readonly ShippedAdapter[]) => writeFileSync(file, `${JSON.stringify(adapters, null, 2)}\n`);
  const weights = pathDirectory(join(root, 'weights'));
  try {
    const options = parse(argv, terminal);
    if (options.check || options.prune) {
      const stale = await staleOf(read(), weights);
      for (const [adapter, keys] of stale) {
        for (const key of keys) terminal.out(`stale: ${adapter.about.split(';')[0]}: ${key}`);
      }
      if (options.prune) write(read().map((adapter, i) => withoutKeys(adapter, stale[i][1])));
      return !options.prune && stale.some(([, keys]) => keys.length) ? EXIT.failure : EXIT.ok;
    }
    if (options.adapter === undefined) throw new UsageError('--adapter: expected the name of an adapter to measure');
    const { gpu } = await openGpu({ adapter: options.adapter });
    const device = await Device.open({ gpu, powerPreference: 'high-performance', tune: { mode: 'off' } });
    const match = traitsOf(device);
    terminal.note(`on ${describe(device.info)}`);
    const about = [describe(device.info), `commit ${commitOf(root)}`, new Date().toISOString().slice(0, 10)].join('; ');
    const found = new Map<string, ShippedEntry | undefined>();
    for (const dtype of options.dtype === 'both' ? (['f32', 'f16'] as const) : [options.dtype]) {
      for (const [name, graph] of await tunedGraphs(weights, { dtype, software: match.software })) {
        if (!options.only.split(',').some((pattern) => fits(pattern, name))) continue;
        terminal.note(`${name} ${dtype}`);
        const { signal } = interrupt;
        const note = (line: string) => terminal.note(`  ${line}`);
        const more = await measureGraph(device, graph, new Set(found.keys()), { ...options, signal, note });
        for (const [key, entry] of more) found.set(key, entry);
        // Kept after each: an hour of measuring is not lost to an interruption.
        write(withFound(read(), { about, match }, found));
      }
    }
    if (found.size === 0)
      throw new UsageError(`--only: expected a pattern that fits some model, got "${options.only}"`);
    const kept = [...found.values()].filter(Boolean).length;
    terminal.out(`${file}: of ${found.size} classes measured ${kept} are computed otherwise than usual`);
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return reportError(error, terminal, '`--help` lists the options');
  } finally {
    interrupt.dispose();
  }
}

/** Every adapter with the keys of its entries that say nothing any more. No GPU is needed. */
export async function staleOf(
  shipped: readonly ShippedAdapter[],
  weights: ReturnType<typeof pathDirectory>,
): Promise<[ShippedAdapter, string[]][]> {
  const found: [ShippedAdapter, string[]][] = [];
  for (const adapter of shipped) {
    const { software } = adapter.match;
    const graphs = await Promise.all(
      (['f32', 'f16'] as const).map((dtype) => tunedGraphs(weights, { dtype, software })),
    );
    const versions = versionsOf(
      graphs.flatMap((some) => [...some.values()]),
      capabilitiesOf(adapter.match),
    );
    found.push([adapter, staleKeys(adapter, versions)]);
  }
  return found;
}

function parse(argv: readonly string[], terminal: Terminal): Options {
  const program = new Command('npm run tune --')
    .description('Measures, for an adapter, what ships with the library as its fastest ways: src/engine/tuned.json.')
    .option('-a, --adapter <name>', 'as of the bench, in Node', text('--adapter', 'a name'))
    .option('--dtype <type>', 'storage: f32, f16 or both', choice('--dtype', ['f32', 'f16', 'both'] as const), 'both')
    .option(
      '--only <globs>',
      'models whose names fit, such as "cifar10/*"; several by commas',
      text('--only', 'a name'),
      '*',
    )
    .option('--repetitions <n>', 'in all of which a way must be clearly faster', whole('--repetitions', 1, 100), 3)
    .option(
      '--check',
      'only say which entries are of kernels that have changed since; exit status 1 where there are some',
    )
    .option('--prune', 'only take those entries out')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: (s) => terminal.note(s.trimEnd()), writeErr: (s) => terminal.note(s.trimEnd()) });
  return program.parse([...argv], { from: 'user' }).opts<Options>();
}
