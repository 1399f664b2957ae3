/**
 * The typed errors of the library. A message reads `where: expected …, got …; what to do`.
 * Every class is raised before any dispatch, or names the dispatch it belongs to.
 */

/** Base of every error that Daguerre raises on purpose. */
export class DaguerreError extends Error {
  /** @param message `where: expected …, got …; what to do` */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** An argument is outside its documented range (steps 0, width not divisible, eta < 0 …). */
export class InvalidArgumentError extends DaguerreError {}

/** Tensor shapes do not fit an operation; raised while the graph is recorded. */
export class ShapeError extends DaguerreError {}

/** A file is not what its format says: truncated, oversized, overlapping, not JSON … */
export class FormatError extends DaguerreError {}

/** A file, folder, shard or component is not there. */
export class NotFoundError extends DaguerreError {}

/** A server cannot be reached, is in trouble (HTTP 5xx, 408, 429) or breaks off; trying again may help. */
export class NetworkError extends DaguerreError {}

/** A weight is missing, left over, of another shape, or not finite; `keys` names every one of them. */
export class WeightError extends DaguerreError {
  constructor(
    message: string,
    /** Checkpoint keys, every one that is wrong. */
    readonly keys: readonly string[],
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A config has another class, an unknown field that could change the result, or a value not understood. */
export class ConfigError extends DaguerreError {
  constructor(
    message: string,
    /** Name of the field as the config writes it. */
    readonly field: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** No WebGPU adapter, or an adapter without a feature or limit that was asked for. */
export class AdapterError extends DaguerreError {}

/** A tensor, binding or plan exceeds a limit of the device; the message says what would fit. */
export class LimitError extends DaguerreError {}

/** The GPU could not allocate; what had been allocated for the call is released. */
export class OutOfMemoryError extends DaguerreError {}

/** The device is gone (driver reset, tab in the background, destroyed); make a new one. */
export class DeviceLostError extends DaguerreError {}

/** WGSL or a pipeline did not compile, or a command was refused by validation. */
export class ValidationError extends DaguerreError {}

/** A value became NaN or infinite; `op` names the first operation that produced one. */
export class NonFiniteError extends DaguerreError {
  constructor(
    message: string,
    /** Label of the op. */
    readonly op: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The caller's AbortSignal fired; the object stays usable. */
export class AbortedError extends DaguerreError {}

/** A kind of model, layer or option that this version does not build yet. */
export class UnsupportedError extends DaguerreError {}

/**
 * Does nothing until the signal has fired.
 * @throws AbortedError from then on, with the signal's reason as its cause.
 */
export function throwIfAborted(signal: AbortSignal | undefined, where: string): void {
  if (signal?.aborted) throw new AbortedError(`${where}: aborted by the caller`, { cause: signal.reason });
}

/**
 * Waits for `work`, but no longer than until the signal fires; work that cannot be stopped goes on, its result unused.
 * @throws AbortedError
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined, where: string): Promise<T> {
  if (!signal) return work;
  throwIfAborted(signal, where);
  let stop = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(new AbortedError(`${where}: aborted by the caller`, { cause: signal.reason }));
    signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
    work.catch(() => undefined);
  }
}
