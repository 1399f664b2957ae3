/**
 * Waiting without spinning. Dawn in Node asks at every turn of the event loop whether what is awaited has happened, and
 * so takes a whole core while anything is; where a processor plays the GPU, that is one of those that compute. So each
 * turn sleeps a little, the longer the longer something has been awaited.
 */

/** Methods of Dawn whose promises are waited for, by interface. */
const AWAITED: Readonly<Record<string, readonly string[]>> = {
  GPUQueue: ['onSubmittedWorkDone'],
  GPUBuffer: ['mapAsync'],
  GPUDevice: ['createComputePipelineAsync', 'createRenderPipelineAsync', 'popErrorScope'],
};

/** Share of the time waited so far that a sleep may add. */
const SHARE = 1 / 16;
/** Milliseconds: below the one there is no point in sleeping, beyond the other none in waiting longer. */
const [LEAST, MOST] = [0.02, 1];

const sleeper = new Int32Array(new SharedArrayBuffer(4));
const PATCHED = Symbol.for('daguerre.node.patience');
let awaited = 0;
let since = 0;
let turning = false;

/** One turn of the event loop: sleeps, and comes again while something is awaited. */
function turn(): void {
  turning = awaited > 0;
  if (!turning) return;
  const ms = Math.min(MOST, (performance.now() - since) * SHARE);
  if (ms >= LEAST) Atomics.wait(sleeper, 0, 0, ms);
  setImmediate(turn);
}

function begin(): void {
  awaited++;
  since = performance.now();
  if (turning) return;
  turning = true;
  setImmediate(turn);
}

function end(): void {
  awaited--;
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
        begin();
        promise.then(end, end);
        return promise;
      };
    }
  }
}
