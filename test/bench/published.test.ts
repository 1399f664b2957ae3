import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PUBLISHED, recordModel } from '../../bench/models/published.ts';
import { strideOf } from '../../bench/models/truth.ts';

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

describe.each(Object.entries(PUBLISHED))('%s', (name, model) => {
  const { graph, wanted, inputs } = recordModel(model, 'f32');

  test('has a value for every element of its inputs', () => {
    expect(Object.keys(inputs).sort()).toEqual([...graph.inputs.keys()].sort());
    for (const [key, tensor] of graph.inputs) expect(inputs[key].length).toBe(size(tensor.shape));
  });

  test('has an output that PyTorch recorded', () => {
    const file = join('bench', 'models', 'truth', `${name}.bin`);
    expect(existsSync(file)).toBe(true);
    const n = size(graph.outputs.get('out')!.shape);
    expect(statSync(file).size).toBe(4 * Math.ceil(n / strideOf(n)));
  });

  test('is as large as published', () => {
    // Without the table of positions; the transformers' blocks have embeddings of their own in this library's layout.
    const published: Record<string, number> = {
      'ddpm-cifar10-32': 35_746_307,
      'sd15-unet': 859_520_964,
      'sd-vae-8': 49_490_199,
    };
    const parameters = [...wanted.values()].reduce((sum, shape) => sum + size(shape), 0);
    if (published[name]) expect(parameters).toBe(published[name]);
    else expect(parameters).toBeGreaterThan(30e6);
  });
});
