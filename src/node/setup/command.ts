import { spawn } from 'node:child_process';
import { DaguerreError } from '../../engine/errors.ts';

export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Called with every complete line of standard output, as it comes. */
  onLine?: (line: string) => void;
}

/** Runs a program to its end and returns what it printed; a program that is not there has code 127. */
export function runCommand(program: string, args: string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new Promise((done) => {
    const child = spawn(program, args, { cwd: options.cwd, env: options.env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) options.onLine?.(line);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (error) => done({ code: 127, stdout, stderr: stderr + error.message }));
    child.on('close', (code) => done({ code: code ?? 1, stdout, stderr }));
  });
}

/** The error for a program that failed, with the last lines that it printed. */
export function commandError(program: string, args: string[], result: CommandResult): DaguerreError {
  const said = `${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-6).join('\n  ');
  const line = [program, ...args].join(' ');
  return new DaguerreError(
    `${line.length > 100 ? `${line.slice(0, 97)}…` : line}: ended with code ${result.code}:\n  ${said}`,
  );
}

/**
 * Like {@link runCommand}.
 * @throws DaguerreError when the program fails, with the last lines that it printed.
 */
export async function mustRun(program: string, args: string[], options: CommandOptions = {}): Promise<CommandResult> {
  const result = await runCommand(program, args, options);
  if (result.code !== 0) throw commandError(program, args, result);
  return result;
}
