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

export function processTerminal(): Terminal {
  const { stdout, stderr } = process;
  return {
    out: (line) => void stdout.write(`${line}\n`),
    note: (line) => void stderr.write(`${line}\n`),
    bar: stderr.isTTY && process.env.TERM !== 'dumb' && !process.env.CI ? stderr : undefined,
    columns: stderr.columns ?? 80,
  };
}
