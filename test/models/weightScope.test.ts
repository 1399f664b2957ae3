import { expect, test } from 'vitest';
import { ShapeError } from '../../src/engine/index.ts';
import { WeightScope } from '../../src/models/index.ts';

test('keys are the path, and all scopes of a tree declare into one list', () => {
  const w = new WeightScope('unet');
  const weight = w.at('down_blocks', 0).at('resnets', 1, 'conv1').param('weight', [4, 3, 3, 3]);
  expect(weight).toEqual({ key: 'unet.down_blocks.0.resnets.1.conv1.weight', shape: [4, 3, 3, 3] });
  new WeightScope().param('bias', [4]);
  w.param('bias', [4]);
  expect([...w.wanted]).toEqual([
    ['unet.down_blocks.0.resnets.1.conv1.weight', [4, 3, 3, 3]],
    ['unet.bias', [4]],
  ]);
  expect(w.parameters).toBe(112);
});

test('a weight may be read twice, with one shape', () => {
  const w = new WeightScope();
  w.param('weight', [2, 3]);
  expect(w.param('weight', [2, 3]).key).toBe('weight');
  expect(w.parameters).toBe(6);
  expect(() => w.param('weight', [3, 2])).toThrow(ShapeError);
});
