import { CommanderError } from 'commander';
import { EXIT, report } from './exit.ts';
import { type Actions, ACTIONS, buildProgram } from './program.ts';
import type { Terminal } from './terminal.ts';

/**
 * Runs one command line. @param argv the words after the program's name
 * @returns the exit status: 0 done, 1 failed, 2 wrong option, 130 stopped
 */
export async function main(argv: readonly string[], terminal: Terminal, actions: Actions = ACTIONS): Promise<number> {
  let status: number = EXIT.ok;
  try {
    const program = buildProgram(terminal, (value) => (status = value), actions);
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    if (!(error instanceof CommanderError)) return report(error, terminal);
    // Commander has written its message already; help asked for is no error, help for want of a command is one.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
}
