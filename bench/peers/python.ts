/** The way to a peer that runs in Python: a process that answers lines of JSON on its standard output. */
import { execFile, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { TorchFound } from './engines/torch.ts';
import type { Channel, Reply } from './protocol.ts';

/** As in install.mjs. */
const python = () => process.env.PYTHON || 'python3';
/** Milliseconds that looking for PyTorch may take. */
const PATIENCE_MS = 20_000;

/** Whether Python finds PyTorch, without importing it. @param folder that of the scripts */
export async function findTorch(folder: string): Promise<TorchFound | undefined> {
  const options = { cwd: folder, timeout: PATIENCE_MS };
  const said = await new Promise<string>((resolve) => {
    execFile(python(), ['torch_probe.py'], options, (error, stdout) => resolve(error ? 'null' : stdout));
  });
  try {
    return (JSON.parse(said) as TorchFound | null) ?? undefined;
  } catch {
    return undefined;
  }
}

/** A process and the way to it; `close` ends it. @param folder that of the scripts */
export function pythonChannel(folder: string, script: string): Channel & { close(): void } {
  const child = spawn(python(), [script], { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)));
  const lines = lineChannel(child.stdin, child.stdout);
  return {
    ...lines,
    onEnd(listener) {
      child.once('error', (error) => listener(error.message));
      child.once('exit', (code, signal) => listener(`${signal ?? code}; ${said.trim()}`));
    },
    close: () => void child.kill('SIGKILL'),
  };
}

/** A message is a line of JSON; results come in base 64. */
export function lineChannel(input: Writable, output: Readable): Channel {
  // Whoever has ended reads no more; that it has ended is told elsewhere.
  input.on('error', () => undefined);
  return {
    send: (message) => void input.write(`${JSON.stringify(message)}\n`),
    onMessage(listener) {
      createInterface({ input: output }).on('line', (line) => listener(decoded(line)));
    },
  };
}

function decoded(line: string): { id: number; body: Reply } {
  const { id, body } = JSON.parse(line) as {
    id: number;
    body: Exclude<Reply, { output: unknown }> | { output: string };
  };
  if (!('output' in body)) return { id, body };
  const bytes = Uint8Array.from(Buffer.from(body.output, 'base64'));
  return { id, body: { output: new Float32Array(bytes.buffer) } };
}
