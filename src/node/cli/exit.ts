import { AbortedError, DaguerreError, InvalidArgumentError } from '../../engine/errors.ts';
import type { Terminal } from './terminal.ts';

/** Exit statuses of the command, as shells know them. */
export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** The command line itself is wrong; the message names the option and what it may be. */
export class UsageError extends DaguerreError {}

const HELP = '`daguerre --help` and `daguerre COMMAND --help` list the options';

/** Ctrl-C, told in the command's own words. */
export class InterruptedError extends DaguerreError {}

/**
 * Says what went wrong and returns the exit status for it. A stack is shown where the error is not one of ours, which
 * makes it a defect, or with `DAGUERRE_DEBUG=1`.
 * @param help what to type to see the options, where one of them is wrong
 */
export function report(error: unknown, terminal: Terminal, help = HELP): number {
  if (error instanceof InterruptedError) {
    terminal.note(error.message);
    return EXIT.interrupted;
  }
  if (error instanceof AbortedError) {
    terminal.note('stopped');
    return EXIT.interrupted;
  }
  const debug = (process.env.DAGUERRE_DEBUG ?? '0') !== '0';
  const message = error instanceof Error ? error.message : String(error);
  terminal.note(`error: ${message}`);
  // Errors of the system (no such file, no space left) speak for themselves; anything else is a defect.
  const known = error instanceof DaguerreError || typeof (error as { syscall?: unknown })?.syscall === 'string';
  if (error instanceof Error && (debug || !known)) {
    terminal.note(error.stack ?? '');
    for (let cause = error.cause; cause instanceof Error; cause = cause.cause)
      terminal.note(`caused by ${cause.stack}`);
  } else if (known) {
    if (error instanceof UsageError) terminal.note(help);
  }
  return error instanceof UsageError || error instanceof InvalidArgumentError ? EXIT.usage : EXIT.failure;
}
