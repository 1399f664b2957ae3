import type { SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.ts';

/**
 * One bar, one phase at a time, on standard error. Where no terminal watches (a log, a pipe) each phase is one line.
 */
export class Progress {
  private bar: SingleBar | undefined;
  private phase = '';

  private constructor(
    private readonly terminal: Terminal,
    private readonly create: (() => SingleBar) | undefined,
  ) {}

  static async open(terminal: Terminal): Promise<Progress> {
    const stream = terminal.bar;
    // The bar is a comfort: without the package the phases are told in lines.
    const loaded = stream && (await import('cli-progress').catch(() => undefined));
    if (!loaded) return new Progress(terminal, undefined);
    const { SingleBar } = loaded.default ?? loaded;
    const barsize = Math.max(10, Math.min(40, terminal.columns - 48));
    const options = {
      stream,
      barsize,
      format: '{phase} {bar} {text}',
      barCompleteChar: '━',
      barIncompleteChar: '─',
      hideCursor: true,
      linewrap: false,
      fps: 20,
      gracefulExit: false,
    };
    return new Progress(terminal, () => new SingleBar(options));
  }

  /** Shows `done` of `total` of a phase; `text` stands to the right of the bar. */
  update(phase: string, done: number, total: number, text: string): void {
    if (phase !== this.phase) {
      this.stop();
      this.phase = phase;
      if (this.create) {
        this.bar = this.create();
        this.bar.start(Math.max(1, total), done, { phase: phase.padEnd(10), text });
        return;
      }
      this.terminal.note(`${phase} …`);
    }
    this.bar?.setTotal(Math.max(1, total));
    this.bar?.update(done, { text });
  }

  /** Leaves the line as it stands and gives the cursor back. */
  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
    this.phase = '';
  }
}
