import { InterruptedError, EXIT } from './exit.ts';
import { AbortedError } from '../../engine/errors.ts';
import { runParity } from '../parity/run.ts';
import { onInterrupt } from './interrupt.ts';
import type { Terminal } from './terminal.ts';

/** `daguerre parity`: status 1 where a case failed or is not supported. @throws InterruptedError when stopped */
export async function parityCommand(
  folder: string,
  options: { only?: string; adapter?: string; json?: string },
  terminal: Terminal,
): Promise<number> {
  const interrupt = onInterrupt();
  try {
    const { signal } = interrupt;
    const { failed } = await runParity(folder, { ...options, signal, log: terminal.out, warn: terminal.note });
    return failed > 0 ? EXIT.failure : EXIT.ok;
  } catch (error) {
    if (error instanceof AbortedError) throw new InterruptedError('stopped between two cases', { cause: error });
    throw error;
  } finally {
    interrupt.dispose();
  }
}
