/** The command line of the bench. */
import { Command } from 'commander';
import { UsageError } from '../src/node/cli/exit.ts';
import { choice, text, whole } from '../src/node/cli/options.ts';
import { SUITES, type Suite } from './result.ts';
import type { Selection } from './select.ts';

export interface BenchOptions extends Selection {
  host: 'node' | 'chromium';
  /**
   * `auto`, `hardware`, `lavapipe`, `swiftshader` or part of a device name; in Chromium `hardware` or `swiftshader`.
   */
  adapter: string;
  /** Names of other runtimes to measure beside ours; undefined for all that are installed. */
  peers?: readonly string[];
  /** Files to write to and to compare with. */
  json?: string;
  html?: string;
  baseline?: string;
}

interface Parsed {
  node?: boolean;
  adapter?: string;
  suite: Suite | 'all';
  only?: string;
  dtype: 'f32' | 'f16' | 'both';
  reps: number;
  budget: number;
  peers: string;
  variants?: string;
  tune: boolean;
  quick?: boolean;
  json?: string;
  html?: string;
  baseline?: string;
}

const DTYPES = { f32: ['f32'], f16: ['f16'], both: ['f32', 'f16'] } as const;

/**
 * Reads the words after `npm run bench --`.
 * @param print where help and messages go
 * @throws UsageError for a value out of range; CommanderError for an unknown option, or where help was asked for
 */
export function parseOptions(argv: readonly string[], print = console.log): BenchOptions {
  const program = new Command('npm run bench --')
    .description('Measures kernels and models, checked first, in headless Chromium or in Node.')
    .option('--node', 'run in Node through Dawn; otherwise in headless Chromium')
    .option(
      '-a, --adapter <name>',
      'with --node: auto, hardware, lavapipe, swiftshader or part of a device name (default: auto); ' +
        'in Chromium: swiftshader or hardware (default: swiftshader)',
      text('--adapter', 'a name'),
    )
    .option(
      '--suite <name>',
      'kernels, models, scaling, rewrites (what each gains), candidates (every way of computing each kernel) or all',
      choice('--suite', [...SUITES, 'all'] as const),
      'all',
    )
    .option(
      '--only <glob>',
      'only cases whose name, group or shape fits, such as "conv2d" or "*sd15*"; several by commas',
      text('--only', 'a pattern'),
    )
    .option('--dtype <type>', 'storage: f32, f16 or both', choice('--dtype', ['f32', 'f16', 'both'] as const), 'f32')
    .option('--reps <n>', 'times measured of each case, 3 to 1000; slow cases get fewer', whole('--reps', 3, 1000), 15)
    .option('--budget <s>', 'seconds that a case, or a peer of it, may take, 1 to 3600', whole('--budget', 1, 3600), 10)
    .option(
      '--peers <names>',
      'other runtimes: all (that are installed), none, or names by commas: onnxruntime, onnxruntime-cpu, jax-js, tfjs, ' +
        'torch',
      text('--peers', 'names'),
      'all',
    )
    .option('--no-tune', 'time the usual ways of computing, not those found fastest here; first runs are never tuned')
    .option(
      '--variants <glob>',
      'of how peers do the work, only the ways that fit, such as "fused*"',
      text('--variants', 'a pattern'),
    )
    .option('--quick', 'a small case of each group, measured three times: does everything work?')
    .option('--json <file>', 'also write the report as JSON', text('--json', 'a file name'))
    .option('--html <file>', 'also write the report as a page with plots', text('--html', 'a file name'))
    .option(
      '--baseline <file>',
      'compare with a report of before; exit status 1 where a case became slower',
      text('--baseline', 'a file name'),
    )
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeOut: (s) => print(s.trimEnd()), writeErr: (s) => print(s.trimEnd()) });
  const o = program.parse([...argv], { from: 'user' }).opts<Parsed>();
  const host = o.node ? 'node' : 'chromium';
  if (host === 'chromium' && o.adapter !== undefined && !['swiftshader', 'hardware'].includes(o.adapter)) {
    throw new UsageError(
      `--adapter: expected swiftshader or hardware in Chromium, got "${o.adapter}"; add --node for other adapters`,
    );
  }
  return {
    host,
    adapter: o.adapter ?? (host === 'node' ? process.env.DAGUERRE_ADAPTER || 'auto' : 'swiftshader'),
    suites: o.suite === 'all' ? SUITES : [o.suite],
    only: o.only,
    dtypes: DTYPES[o.dtype],
    reps: o.reps,
    budgetMs: 1000 * o.budget,
    peers: peerNames(o.peers),
    variants: o.variants,
    tune: o.tune && !o.quick,
    quick: o.quick ?? false,
    json: o.json,
    html: o.html,
    baseline: o.baseline,
  };
}

function peerNames(names: string): string[] | undefined {
  if (names === 'all') return undefined;
  return names === 'none' ? [] : names.split(',').map((name) => name.trim());
}
