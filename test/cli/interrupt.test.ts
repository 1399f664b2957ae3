import { expect, test } from 'vitest';
import { onInterrupt } from '../../src/node/cli/interrupt.ts';

test.each(['SIGINT', 'SIGTERM'] as const)('the first %s aborts, the second ends at once with 130', (name) => {
  const codes: number[] = [];
  const before = process.listeners(name).length;
  const interrupt = onInterrupt((code) => codes.push(code));
  try {
    expect(interrupt.signal.aborted).toBe(false);
    process.emit(name);
    expect(interrupt.signal.aborted).toBe(true);
    expect(codes).toEqual([]);
    process.emit(name);
    expect(codes).toEqual([130]);
  } finally {
    interrupt.dispose();
  }
  expect(process.listeners(name)).toHaveLength(before);
});
