/**
 * Waiting without spinning. Dawn in Node asks at every turn of the event loop whether what is awaited has happened, and
 * so takes a whole core while anything is pending. Where a processor plays the GPU, that is one of the cores that
 * compute. So each turn sleeps a little, longer the longer something has been awaited. Where only the queue is awaited,
 * whose work is done in order, a piece is expected to take about as long as the one before: otherwise every piece would
 * be watched closely at its beginning. What a piece costs: `a submit more` in docs/performance.md.
 */

/** Methods of Dawn whose promises are waited for, by interface. */
const AWAITED: Readonly<Record<string, readonly string[]>> = {
  GPUQueue: ['onSubmittedWorkDone'],
  GPUBuffer: ['mapAsync'],
  GPUDevice: ['createComputePipelineAsync', 'createRenderPipelineAsync', 'popErrorScope'],
};

/** Promises of this one come in the order in which they were asked for. */
const IN_ORDER = 'onSubmittedWorkDone';

/** Share of the time waited so far that a sleep may add. */
const SHARE = 1 / 16;
/** Milliseconds: there is no point in sleeping less than the one, or longer than the other. */
const [LEAST, MOST] = [0.02, 1];

const sleeper = new Int32Array(new SharedArrayBuffer(4));
const PATCHED = Symbol.for('daguerre.node.patience');
let awaited = 0;
let since = 0;
let turning = false;
/**
 * How many of the awaited promises are of the queue; when its last piece was done, and how long after the one before,
 * ms.
 */
let queued = 0;
let lastDone = 0;
let lastTook = 0;

/** One turn of the event loop: sleeps, and comes again while something is awaited. */
function turn(): void {
  turning = awaited > 0;
  if (!turning) return;
  // Half of what is expected: a shorter piece than the last is to be noticed in time.
  const expected = awaited === queued ? lastTook / 2 : 0;
  const ms = Math.min(MOST, Math.max(performance.now() - since, expected) * SHARE);
  if (ms >= LEAST) Atomics.wait(sleeper, 0, 0, ms);
  setImmediate(turn);
}

/** Something is awaited from now on. @returns what to call when it has come */
function begin(inOrder: boolean): () => void {
  const begun = performance.now();
  since = begun;
  awaited++;
  if (inOrder) queued++;
  if (!turning) {
    turning = true;
    setImmediate(turn);
  }
  return () => {
    awaited--;
    if (!inOrder) return;
    queued--;
    const now = performance.now();
    const took = now - Math.max(begun, lastDone);
    lastDone = now;
    // What comes together with another says nothing of how long pieces take.
    if (took >= LEAST) lastTook = took;
  };
}

/** Makes the event loop sleep between its turns while one of Dawn's promises is pending. Once per process. */
export function beSparing(globals: Record<string, unknown>): void {
  for (const [name, methods] of Object.entries(AWAITED)) {
    const prototype = (globals[name] as { prototype: Record<string | symbol, unknown> } | undefined)?.prototype;
    if (!prototype || prototype[PATCHED]) continue;
    prototype[PATCHED] = true;
    for (const method of methods) {
      const original = prototype[method] as (...args: unknown[]) => Promise<unknown>;
      prototype[method] = function (this: unknown, ...args: unknown[]) {
        const promise = original.apply(this, args);
        const end = begin(method === IN_ORDER);
        promise.then(end, end);
        return promise;
      };
    }
  }
}
