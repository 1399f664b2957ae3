/**
 * What is said between the bench and a peer. Peers live apart, each in a process (or worker) of its own: one session of
 * onnxruntime per process is all that it bears, and a peer that crashes must not take the bench with it. What crosses
 * is plain data; problems and weights are seeded, so that the other side makes them itself.
 */
import { DaguerreError } from '../../src/engine/errors.ts';
import type { Problem } from '../kernels/problem.ts';

/** A peer could not, or ended. */
export class PeerError extends DaguerreError {}

/** The work, and how a peer is to do it. */
export interface Job {
  engine: 'onnxruntime' | 'jax-js' | 'tfjs' | 'torch';
  /** Of onnxruntime. */
  provider?: 'webgpu' | 'cpu';
  /** Of PyTorch. */
  device?: 'cuda' | 'cpu';
  /** Which graph of the work, and with which settings. */
  variant: string;
  work: { problem: Problem } | { model: string };
  dtype: 'f32' | 'f16';
}

/** The engines that run in JavaScript; PyTorch answers from Python. */
export type ScriptEngine = Exclude<Job['engine'], 'torch'>;

export interface Opened {
  version: string;
  /** How it was set up, for people. */
  settings: string;
  /** Whether runs can stand behind each other; otherwise each waits until it is done. */
  pipelined: boolean;
}

export type Request =
  | { method: 'open'; job: Job }
  /** Prepares and runs once: time of both. */
  | { method: 'first' }
  /** As many runs behind each other: time of all. */
  | { method: 'run'; runs: number }
  /** The result, row-major, as the work says. */
  | { method: 'output' };

export type Reply = { opened: Opened } | { ms: number } | { output: Float32Array } | { error: string };

/** A way to the other side. */
export interface Channel {
  send(message: unknown): void;
  /** One listener; called with what the other side sends. */
  onMessage(listener: (message: unknown) => void): void;
  /** Called once, when the other side has ended, with what is known of why. */
  onEnd?(listener: (why: string) => void): void;
}

/** What an engine offers to {@link servePeer}. */
export interface Engine {
  open(job: Job): Promise<EngineWork>;
}

export interface EngineWork extends Opened {
  first(): Promise<number>;
  run(runs: number): Promise<number>;
  output(): Promise<Float32Array>;
}

interface Envelope<T> {
  id: number;
  body: T;
}

/** Answers requests with an engine, one after the other. */
export function servePeer(channel: Channel, engineOf: (job: Job) => Promise<Engine>): void {
  let work: EngineWork | undefined;
  const answer = async (request: Request): Promise<Reply> => {
    if (request.method === 'open') {
      const opened = await (await engineOf(request.job)).open(request.job);
      work = opened;
      return { opened: { version: opened.version, settings: opened.settings, pipelined: opened.pipelined } };
    }
    if (!work) throw new PeerError(`peer: expected open before ${request.method}`);
    if (request.method === 'first') return { ms: await work.first() };
    if (request.method === 'run') return { ms: await work.run(request.runs) };
    return { output: await work.output() };
  };
  let last = Promise.resolve();
  channel.onMessage((message) => {
    const { id, body } = message as Envelope<Request>;
    last = last.then(async () => {
      const reply = await answer(body).catch((error: unknown): Reply => ({ error: textOf(error) }));
      channel.send({ id, body: reply } satisfies Envelope<Reply>);
    });
  });
}

/** The bench's side. Every call throws PeerError when the peer cannot, has ended, or takes longer than `patienceMs`. */
export class PeerClient {
  private readonly waiting = new Map<number, { resolve(reply: Reply): void; reject(error: unknown): void }>();
  private next = 0;
  private ended: string | undefined;

  constructor(
    private readonly channel: Channel,
    private readonly patienceMs = 600_000,
  ) {
    channel.onMessage((message) => {
      const { id, body } = message as Envelope<Reply>;
      this.waiting.get(id)?.resolve(body);
      this.waiting.delete(id);
    });
    channel.onEnd?.((why) => {
      this.ended = why;
      for (const { reject } of this.waiting.values()) reject(new PeerError(`peer: ended: ${why}`));
      this.waiting.clear();
    });
  }

  async open(job: Job): Promise<Opened> {
    return this.expect({ method: 'open', job }, 'opened');
  }

  async first(): Promise<number> {
    return this.expect({ method: 'first' }, 'ms');
  }

  async run(runs: number): Promise<number> {
    return this.expect({ method: 'run', runs }, 'ms');
  }

  async output(): Promise<Float32Array> {
    return this.expect({ method: 'output' }, 'output');
  }

  private async expect<K extends string>(
    request: Request,
    key: K,
  ): Promise<Extract<Reply, Record<K, unknown>> extends Record<K, infer V> ? V : never> {
    const reply = await this.ask(request);
    if ('error' in reply) throw new PeerError(`peer: ${reply.error}`);
    if (!(key in reply)) throw new PeerError(`peer: expected an answer with ${key} to ${request.method}`);
    return (reply as Record<string, unknown>)[key] as never;
  }

  private ask(request: Request): Promise<Reply> {
    if (this.ended !== undefined) throw new PeerError(`peer: ended: ${this.ended}`);
    const id = this.next++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new PeerError(`peer: no answer to ${request.method} within ${this.patienceMs / 1000} s`));
      }, this.patienceMs);
      const settle =
        <T>(then: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          then(value);
        };
      this.waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      this.channel.send({ id, body: request } satisfies Envelope<Request>);
    });
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
