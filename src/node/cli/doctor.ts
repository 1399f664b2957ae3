import { doctor } from '../doctor.ts';
import { formatReport } from '../doctorText.ts';
import { EXIT } from './exit.ts';
import type { Terminal } from './terminal.ts';

/** `daguerre doctor`: status 1 where something is missing. */
export async function doctorCommand(options: { json?: boolean; fetch?: boolean }, terminal: Terminal): Promise<number> {
  const found = await doctor({ fetch: options.fetch, log: (line) => terminal.note(line) });
  terminal.out(options.json ? JSON.stringify(found, null, 2) : formatReport(found));
  return found.problems.length > 0 ? EXIT.failure : EXIT.ok;
}
