import { EXIT } from './exit.ts';

export interface Interrupt {
  /** Fires at the first Ctrl-C (SIGINT) or SIGTERM. */
  readonly signal: AbortSignal;
  dispose(): void;
}

/** Turns the first Ctrl-C into an abort, which ends within one submit; a second one ends the process at once. */
export function onInterrupt(exit: (code: number) => void = process.exit): Interrupt {
  const controller = new AbortController();
  const handler = (): void => {
    if (controller.signal.aborted) exit(EXIT.interrupted);
    controller.abort();
  };
  process.on('SIGINT', handler);
  process.on('SIGTERM', handler);
  return {
    signal: controller.signal,
    dispose() {
      process.off('SIGINT', handler);
      process.off('SIGTERM', handler);
    },
  };
}
