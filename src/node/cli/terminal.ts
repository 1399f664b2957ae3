/** What a command writes to, so that tests can listen. */
export interface Terminal {
  /** A line of the result: standard output. */
  out(line: string): void;
  /** A line about the work: standard error. */
  note(line: string): void;
  /** Where a progress bar may draw; undefined where nobody watches. */
  readonly bar?: NodeJS.WriteStream;
  readonly columns: number;
}

/** What a shell reports of a program whose reader has gone. */
const EXIT_PIPE = 141;

/** The terminal of this process, which ends quietly where nobody reads on (`… | head`). */
export function processTerminal(): Terminal {
  const { stdout, stderr } = process;
  stdout.once('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(EXIT_PIPE);
  });
  return {
    out: (line) => void stdout.write(`${line}\n`),
    note: (line) => void stderr.write(`${line}\n`),
    bar: stderr.isTTY && process.env.TERM !== 'dumb' && !process.env.CI ? stderr : undefined,
    columns: stderr.columns ?? 80,
  };
}
