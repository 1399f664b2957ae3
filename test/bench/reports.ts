import type { BenchReport, BenchResult, PeerResult } from '../../bench/result.ts';

/** A result like those that the bench writes. */
export function result(changes: Partial<BenchResult>): BenchResult {
  return {
    ...{ suite: 'kernels', name: 'matmul/a', dtype: 'f32', ms: 10, minMs: 9, spread: 0.02, gpuMs: 8, firstMs: 50 },
    ...{
      awaitedMs: null,
      activations: null,
      roof: null,
      gflops: 12.5,
      gbps: 3.25,
      peakBytes: 2 ** 20,
      dispatches: 1,
      reps: 9,
      runsPerRep: 1,
      maxError: 0.1,
      peers: [],
    },
    ...changes,
  } as BenchResult;
}

export function report(changes: Partial<BenchReport>): BenchReport {
  return {
    ...{ commit: '0123456', host: 'node', adapter: 'test adapter', date: '2026-01-01T00:00:00.000Z' },
    ...{ results: [], failures: [] },
    ...changes,
  } as BenchReport;
}

export function peerResult(changes: Partial<PeerResult>): PeerResult {
  return {
    ...{ name: 'onnxruntime', version: '1', variant: 'exported', settings: 'at its best', native: false },
    ...{ ms: 20, spread: 0.1, firstMs: 30, ratio: 2, maxError: 0.5, others: [] },
    ...changes,
  };
}
