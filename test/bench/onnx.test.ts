import { describe, expect, test } from 'vitest';
import { problemData, type Problem } from '../../bench/kernels/problem.ts';
import { encodeOnnx } from '../../bench/peers/onnx/model.ts';
import { channelsFirst, channelsLast, problemGraph, VARIANTS, wholeShape } from '../../bench/peers/onnx/problems.ts';
import { Message } from '../../bench/peers/onnx/protobuf.ts';

describe('a message', () => {
  // From the encoding's own description: field 1 = 150 is 08 96 01; field 2 = "testing".
  test.each([
    ['a whole number', new Message().int(1, 150), '089601'],
    ['zero', new Message().int(1, 0), '0800'],
    ['a negative number, in ten bytes', new Message().int(1, -2), '08feffffffffffffffff01'],
    ['a text', new Message().text(2, 'testing'), '120774657374696e67'],
    ['a float', new Message().float(3, 1), '1d0000803f'],
    ['a message', new Message().message(3, new Message().int(1, 150)), '1a03089601'],
    ['a field beyond 15', new Message().int(20, 7), 'a00107'],
  ])('writes %s', (_, message, hex) => {
    expect(Buffer.from(message.finish()).toString('hex')).toBe(hex);
  });
});

const problems: Problem[] = [
  { op: 'matmul', M: 2, N: 3, K: 4 },
  { op: 'conv2d', B: 2, H: 5, W: 4, I: 3, O: 2, R: 3, S: 3, stride: 2, top: 0, left: 0, bottom: 1, right: 1 },
  { op: 'groupNorm', B: 1, H: 2, W: 2, C: 4, groups: 2, eps: 1e-5 },
  { op: 'layerNorm', M: 2, D: 3, eps: 1e-5 },
  { op: 'attention', B: 1, T: 2, S: 3, heads: 2, d: 4 },
  { op: 'elementwise', kind: 'silu', B: 1, H: 2, W: 2, C: 3 },
  { op: 'elementwise', kind: 'scaleShift', B: 1, H: 2, W: 2, C: 3 },
];

describe('a problem as a graph', () => {
  const graphs = problems.flatMap((p) =>
    VARIANTS.flatMap((variant) => {
      const built = problemGraph(p, problemData(p, 'f32'), variant, { probe: true });
      return built ? [{ p, variant, built }] : [];
    }),
  );

  test.each(graphs)('names every tensor before it is used: $p.op, $variant', ({ built: { model } }) => {
    const known = new Set([...Object.keys(model.tensors), ...Object.keys(model.inputs)]);
    for (const { inputs, outputs } of model.nodes) {
      for (const name of inputs) expect(known).toContain(name);
      for (const name of outputs) known.add(name);
    }
    for (const name of Object.keys(model.outputs)) expect(known).toContain(name);
  });

  test.each(graphs)('gives tensors as many values as their shapes say: $p.op, $variant', ({ built: { model } }) => {
    for (const { shape, data } of Object.values(model.tensors)) {
      expect(data.length).toBe(shape.reduce((a, b) => a * b, 1));
    }
    expect(encodeOnnx(model).length).toBeGreaterThan(100);
  });

  test('ends in the result where it can stay on the device, else in a part of it', () => {
    const [p] = problems;
    const data = problemData(p, 'f32');
    expect(problemGraph(p, data, 'exported', { probe: false })!.model.outputs).toEqual({ y: [2, 3] });
    const { inputs, outputs, tensors } = problemGraph(p, data, 'exported', { probe: true })!.model;
    expect(Object.keys(outputs)).toEqual(['probe']);
    expect(inputs.ends).toEqual({ shape: [2], int64: true });
    // What is fed is overridable, so that nothing folds it into the graph.
    expect(tensors.x.overridable).toBe(true);
    expect(tensors.w.overridable).toBeUndefined();
  });

  test('has channels first inside, and gives them last', () => {
    expect(wholeShape(problems[1])).toEqual([2, 2, 2, 2]);
    expect(wholeShape(problems[2])).toEqual([1, 4, 2, 2]);
    const x = Float32Array.from({ length: 12 }, (_, i) => i);
    expect([...channelsFirst(x, 1, 4, 3).subarray(0, 4)]).toEqual([0, 3, 6, 9]);
    expect(channelsLast(channelsFirst(x, 2, 2, 3), 2, 2, 3)).toEqual(x);
  });
});
