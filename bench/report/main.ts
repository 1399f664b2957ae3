/** `npm run bench:report`: reports of one adapter put together, and shown. Built and started by ../run.mjs. */
import { Command, CommanderError } from 'commander';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { EXIT, report as reportError, UsageError } from '../../src/node/cli/exit.ts';
import type { Terminal } from '../../src/node/cli/terminal.ts';
import { readReport } from '../result.ts';
import { reportTable } from '../table.ts';
import { plotsOf, reportPage } from './html.ts';
import { fillDocument } from './markdown.ts';
import { mergeReports } from './merge.ts';

interface Options {
  json?: string;
  html?: string;
  markdown?: string;
  section?: string;
  images?: string;
}

/** @returns exit status */
export async function main(argv: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command('npm run bench:report --')
    .description('Puts reports of one adapter together, and shows them.')
    .argument('<files...>', 'reports written with npm run bench -- --json FILE; of a case in several the last counts')
    .option('--json <file>', 'the whole as JSON')
    .option('--html <file>', 'as a page with plots')
    .option('--markdown <file>', 'fill the tables of a document, between <!-- bench:NAME … --> and <!-- /bench -->')
    .option('--section <name>', 'NAME of those tables')
    .option('--images <prefix>', 'the plots as PREFIX-….svg')
    .exitOverride()
    .configureOutput({ writeOut: (s) => terminal.note(s.trimEnd()), writeErr: (s) => terminal.note(s.trimEnd()) });
  try {
    const files = program.parse([...argv], { from: 'user' }).args;
    const { json, html, markdown, section, images } = program.opts<Options>();
    if (markdown && !section) throw new UsageError('--markdown: expected --section NAME beside it');
    const report = mergeReports(files.map((file) => readReport(readFileSync(file, 'utf8'), file)));
    terminal.out(reportTable(report));
    if (json) writeFileSync(json, `${JSON.stringify(report, null, 1)}\n`);
    if (html) writeFileSync(html, await reportPage(report));
    if (markdown) writeFileSync(markdown, fillDocument(readFileSync(markdown, 'utf8'), section!, report));
    if (images) {
      const { draw } = await import('../../scripts/plots/draw.ts');
      for (const [name, spec] of Object.entries(await plotsOf(report))) await draw(spec, join(`${images}-${name}.svg`));
    }
    return EXIT.ok;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return reportError(error, terminal, '`--help` lists the options');
  }
}
