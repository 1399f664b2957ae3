import { describe, expect, test } from 'vitest';
import { AbortedError, FormatError, InvalidArgumentError } from '../../src/engine/errors.ts';
import { InterruptedError } from '../../src/node/cli/exit.ts';
import type { GenerateOptions } from '../../src/node/cli/generateOptions.ts';
import { main } from '../../src/node/cli/main.ts';
import type { Actions } from '../../src/node/cli/program.ts';
import { listener } from './listener.ts';

/** Runs a command line whose commands only keep what they were given. */
async function run(argv: string[], ends: () => number = () => 0) {
  const terminal = listener();
  const calls: unknown[][] = [];
  const keep = async (...args: unknown[]): Promise<number> => {
    calls.push(args.slice(0, -1));
    return ends();
  };
  const actions: Actions = { generate: keep, doctor: keep, parity: keep, demo: keep, inspect: keep, profile: keep };
  const status = await main(argv, terminal, actions);
  return { status, calls, ...terminal, generated: calls[0]?.[0] as GenerateOptions | undefined };
}

describe('generate', () => {
  test('without options asks for one picture of every class of the shipped model', async () => {
    const { status, generated } = await run(['generate']);
    expect(status).toBe(0);
    expect(generated).toMatchObject({
      classes: [],
      steps: 20,
      guidance: 4,
      seed: 0,
      batch: 1,
      out: 'out',
      dtype: 'auto',
      limits: 'auto',
    });
    expect(generated!.model).toMatch(/weights.emoji$/);
    expect(generated!.separate).toBe(false);
    for (const left of ['sampler', 'eta', 'width', 'height', 'scale', 'adapter'] as const) {
      expect(generated![left]).toBeUndefined();
    }
  });

  test('reads every option', async () => {
    const line =
      'generate --model m --class food --class 1,2 --steps 7 --sampler DDIM --guidance 1.5 --eta .25 --seed 4294967295 ' +
      '--width 96 --height 64 --batch 3 --out here --separate --scale 4 --dtype f16 --adapter lavapipe --limits default';
    const { status, generated } = await run(line.split(' '));
    expect(status).toBe(0);
    expect(generated).toEqual({
      model: 'm',
      classes: ['food', '1,2'],
      steps: 7,
      sampler: 'ddim',
      guidance: 1.5,
      eta: 0.25,
      seed: 4294967295,
      width: 96,
      height: 64,
      batch: 3,
      out: 'here',
      separate: true,
      scale: 4,
      dtype: 'f16',
      adapter: 'lavapipe',
      limits: 'default',
    });
  });

  test('reads what pictures are made from, and remembers what nobody asked for', async () => {
    const words = [
      '--prompt',
      'a red heart',
      '-p',
      'a, b',
      '--negative',
      'blur',
      '--image',
      'i.png',
      '--mask',
      'm.png',
    ];
    const more = '--control c.png --control d.png --strength .5 --noise-level 7 --tokenizer t --count 3 --guidance 0';
    const { status, generated } = await run(['generate', ...words, ...more.split(' ')]);
    expect(status).toBe(0);
    expect(generated).toMatchObject({
      prompts: ['a red heart', 'a, b'],
      negative: 'blur',
      image: 'i.png',
      mask: 'm.png',
      controls: ['c.png', 'd.png'],
      strength: 0.5,
      noiseLevel: 7,
      tokenizer: 't',
      count: 3,
      guidance: 0,
      untold: ['steps'],
    });
  });

  test.each([
    ['--prompt', ' ', /--prompt: expected a text/],
    ['--strength', '0', /--strength: expected a number from 0.01 to 1, got "0"/],
    ['--count', '0', /--count: expected a whole number from 1 to 1024/],
    ['--noise-level', '-1', /--noise-level/],
    ['--mask', 'm.png', /--mask: expected together with --image/],
    ['--steps', '0', /--steps: expected a whole number from 1 to 1000, got "0"/],
    ['--steps', '1001', /--steps: .* from 1 to 1000/],
    ['--steps', '2.5', /--steps: expected a whole number/],
    ['--steps', '', /--steps: .* got ""/],
    ['--steps', '1e2', /--steps/],
    ['--guidance', 'much', /--guidance: expected a number from 0 to 50, got "much"/],
    ['--guidance', '-1', /--guidance/],
    ['--guidance', 'Infinity', /--guidance/],
    ['--eta', '1.01', /--eta: expected a number from 0 to 1/],
    ['--seed', '-1', /--seed: expected a whole number from 0 to 4294967295/],
    ['--seed', '4294967296', /--seed/],
    ['--width', '0', /--width: expected a whole number from 8 to 8192/],
    ['--height', '99999', /--height/],
    ['--batch', '0', /--batch: expected a whole number from 1 to 64/],
    ['--scale', '9', /--scale/],
    ['--dtype', 'int8', /--dtype: expected auto or f32 or f16, got "int8"/],
    ['--sampler', 'euler', /--sampler: expected ddim or ddpm, got "euler"/],
    ['--class', ' ', /--class: expected a class/],
    ['--out', '', /--out/],
    ['--model', '', /--model/],
  ])('refuses %s %j', async (option, value, message) => {
    const { status, notes, results, calls } = await run(['generate', `${option}=${value}`]);
    expect(notes.join('\n')).toMatch(message);
    expect(status).toBe(2);
    expect(calls).toEqual([]);
    expect(results).toEqual([]);
  });

  test('refuses eta where the sampler has none', async () => {
    const { status, notes } = await run(['generate', '--sampler', 'ddpm', '--eta', '0.5']);
    expect(status).toBe(2);
    expect(notes.join()).toMatch(/--eta: expected with --sampler ddim only/);
  });
});

describe('exit status', () => {
  test.each([
    ['an unknown option', ['generate', '--stpes', '5'], /unknown option '--stpes'[^]*--steps/],
    ['an unknown command', ['genreate'], /unknown command 'genreate'[^]*generate/],
    ['an option without its value', ['generate', '--steps'], /--steps.*argument missing/],
    ['a word too many', ['generate', 'cats'], /too many arguments/],
    ['a missing folder', ['parity'], /missing required argument 'folder'/],
    ['no command', [], /Usage: daguerre/],
  ])('2 for %s', async (_, argv, message) => {
    const { status, notes } = await run(argv);
    expect(status).toBe(2);
    expect(notes.join('\n')).toMatch(message);
  });

  test.each([[['--help']], [['generate', '--help']], [['help', 'demo']], [['--version']]])('0 for %j', async (argv) => {
    const { status, notes, results } = await run(argv);
    expect(status).toBe(0);
    expect(notes).toEqual([]);
    expect(results.join('')).not.toBe('');
  });

  test.each([
    [
      '2 for an argument that the library refuses',
      new InvalidArgumentError('unet: expected …, got …'),
      2,
      /^error: unet/,
    ],
    [
      '1 for any other error of ours, without a stack',
      new FormatError('file: expected …'),
      1,
      /^error: file: expected …$/,
    ],
    [
      '1 for a defect, with its stack',
      new TypeError('x is undefined'),
      1,
      /^error: x is undefined\nTypeError: [^]*at /,
    ],
    [
      '130 for Ctrl-C, in the words of the command',
      new InterruptedError('stopped at step 3 of 20'),
      130,
      /^stopped at/,
    ],
    ['130 for an abort', new AbortedError('pipeline: aborted'), 130, /^stopped$/],
  ])('%s', async (_, error, wanted, message) => {
    const { status, notes } = await run(['doctor'], () => {
      throw error;
    });
    expect(status).toBe(wanted);
    expect(notes.join('\n')).toMatch(message);
  });

  test('DAGUERRE_DEBUG=1 shows the stack and the causes', async () => {
    process.env.DAGUERRE_DEBUG = '1';
    try {
      const { notes } = await run(['doctor'], () => {
        throw new FormatError('outer', { cause: new Error('inner') });
      });
      expect(notes.join('\n')).toMatch(/error: outer\nFormatError: outer\n\s+at [^]*caused by Error: inner/);
    } finally {
      delete process.env.DAGUERRE_DEBUG;
    }
  });

  test('is what the command returns', async () => {
    expect((await run(['parity', 'x'], () => 1)).status).toBe(1);
  });
});

test('the other commands get their options', async () => {
  expect((await run(['doctor', '--json'])).calls[0]).toEqual([{ json: true }]);
  expect((await run(['demo', '-p', '0'])).calls[0]).toEqual([{ port: 0, host: '127.0.0.1' }]);
  expect((await run(['parity', 'd', '--only', 'ddim_*', '--json', 'r.json'])).calls[0]).toEqual([
    'd',
    { only: 'ddim_*', json: 'r.json' },
  ]);
  expect((await run(['profile', 'm', '--trace', 't.json'])).calls[0]).toEqual([
    'm',
    { batch: 1, dtype: 'auto', limits: 'auto', trace: 't.json' },
  ]);
  expect((await run(['inspect', 'm', '--keys'])).calls[0]).toEqual([
    'm',
    { batch: 1, dtype: 'f32', limits: 'default', keys: true },
  ]);
});
