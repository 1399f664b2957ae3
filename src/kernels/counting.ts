/**
 * The figures by which ways of computing are compared where nothing has been measured: a data-centre card, in round
 * numbers. On a smaller card everything takes longer but a dispatch, so it should measure (`tune: 'full'`).
 */

/** Multiprocessors; as counted, each has one workgroup at a time. */
export const MULTIPROCESSORS = 128;

/**
 * Seconds that one more dispatch costs: 2.5 µs of the host as measured, the rest is what a card idles between two
 * dispatches that wait for each other.
 */
export const DISPATCH = 10e-6;

/** Bytes per second that caches deliver to all multiprocessors together. */
export const CACHES = 4e12;

/**
 * Multiply-adds of halves per second that subgroup matrices do on one multiprocessor: 1,024 a cycle at 1.76 GHz, all
 * that products within one subgroup reach there. Kernels that reach less gain more from parts than is counted.
 */
export const MATRIX_RATE = 1.8e12;
