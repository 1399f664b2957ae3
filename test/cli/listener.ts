import type { Terminal } from '../../src/node/cli/terminal.ts';

/** A terminal that keeps what it is told. */
export function listener(): Terminal & { results: string[]; notes: string[] } {
  const results: string[] = [];
  const notes: string[] = [];
  return {
    results,
    notes,
    columns: 100,
    out: (line) => void results.push(line),
    note: (line) => void notes.push(line),
  };
}
