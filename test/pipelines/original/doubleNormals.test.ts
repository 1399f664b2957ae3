/** Normals in f64 as PyTorch 2.13 draws them on the CPU, behind f32 normals and an integer of the same stream. */
import { expect, it } from 'vitest';
import { doubleNormals } from '../../../src/pipelines/original/doubleNormals.ts';
import { CounterGenerator, TorchGenerator } from '../../../src/sampler/index.ts';
import { expectClose, TORCH_NORMAL } from '../../support/close.ts';

it('whole blocks, few values, a ragged end', () => {
  const plain = new TorchGenerator(7);
  const start = plain.randn(48);
  expectClose(start.subarray(0, 2), [-0.8201345205307007, 0.39563116431236267], TORCH_NORMAL, 'f32');
  expect(plain.randint(0, 6, 1)).toEqual([2]);
  const generator = doubleNormals(plain);
  const blocks = generator.randn(48);
  const seen = [0, 1, 7, 8, 15, 16, 31, 47].map((i) => blocks[i]);
  const want = [
    0.434354581, -0.012683297, 1.976339164, 0.653291815, 0.307728613, 1.387326913, -0.224409317, -0.902154247,
  ];
  expectClose(seen, want, TORCH_NORMAL, 'blocks');
  const few = generator.randn(15);
  expectClose(
    [0, 1, 2, 14].map((i) => few[i]),
    [0.592188115, 1.651520227, 0.285978507, -1.014975918],
    TORCH_NORMAL,
    'few',
  );
  const { state } = generator;
  const ragged = generator.randn(19);
  expectClose(
    [0, 2, 3, 18].map((i) => ragged[i]),
    [1.173008045, 0.113956491, 0.969493856, 1.354048284],
    TORCH_NORMAL,
    'ragged',
  );
  generator.state = state;
  expect(generator.randn(19)).toEqual(ragged);
  const other = new CounterGenerator(1);
  expect(doubleNormals(other)).toBe(other);
});
