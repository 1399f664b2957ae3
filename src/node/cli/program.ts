/** The commands and their options. What a command does is loaded when it runs, so that `--help` is quick. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { packageRoot } from '../setup/cacheFolder.ts';
import { checkCombination, defaultModel, type GenerateOptions } from './generateOptions.ts';
import { choice, decimal, repeated, text, whole } from './options.ts';
import type { ProfileOptions } from './profile.ts';
import type { Terminal } from './terminal.ts';

/** What a command ends with is its exit status. */
export interface Actions {
  generate(options: GenerateOptions, terminal: Terminal): Promise<number>;
  doctor(options: { json?: boolean; fetch?: boolean }, terminal: Terminal): Promise<number>;
  parity(
    folder: string,
    options: { only?: string; adapter?: string; json?: string },
    terminal: Terminal,
  ): Promise<number>;
  demo(options: { port: number; host: string; weights?: string }, terminal: Terminal): Promise<number>;
  inspect(model: string, options: InspectOptions, terminal: Terminal): Promise<number>;
  profile(model: string, options: ProfileOptions, terminal: Terminal): Promise<number>;
}

export interface InspectOptions {
  batch: number;
  width?: number;
  height?: number;
  dtype: 'f32' | 'f16';
  /** Of the device that is planned for: what every one has, or none; default `default`. */
  limits?: 'default' | 'raised';
  keys?: boolean;
}

export const ACTIONS: Actions = {
  generate: async (...args) => (await import('./generate.ts')).generateCommand(...args),
  doctor: async (...args) => (await import('./doctor.ts')).doctorCommand(...args),
  parity: async (...args) => (await import('./parity.ts')).parityCommand(...args),
  demo: async (...args) => (await import('./demo.ts')).demoCommand(...args),
  inspect: async (...args) => (await import('./inspect.ts')).inspectCommand(...args),
  profile: async (...args) => (await import('./profile.ts')).profileCommand(...args),
};

const DTYPES = ['auto', 'f32', 'f16'] as const;
const LIMITS = ['auto', 'default'] as const;
const LIMITS_HELP = 'size of buffers: auto, as large as hardware offers, or default, what every WebGPU device has';
const ADAPTER_HELP = 'auto, hardware, lavapipe, swiftshader or part of a device name (default: auto)';

function version(): string {
  return (JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string }).version;
}

function addGenerate(program: Command, run: (options: GenerateOptions) => Promise<void>): void {
  program
    .command('generate')
    .summary('make pictures: a sheet, and a strip of one of them developing')
    .description(
      'Makes pictures from classes, texts, other pictures or noise alone, as the model does, and writes two PNG ' +
        'files: a sheet of all pictures, and a strip ' +
        'that shows the first one developing from noise.',
    )
    .option(
      '-m, --model <source>',
      'folder, hub name, URL, or one .safetensors file (default: the emoji model of this package)',
      text('--model', 'a folder, URL or hub name'),
    )
    .option(
      '-c, --class <name>',
      'class number, name or part of a name; a list with commas, or repeated (default: one of every class)',
      repeated('--class', 'a class'),
    )
    .option('-p, --prompt <text>', 'what to see, for a model of texts; may be repeated', repeated('--prompt', 'a text'))
    .option('--negative <text>', 'what not to see', text('--negative', 'a text'))
    .option('--image <png>', 'picture to start from, to enlarge, to edit or to vary', text('--image', 'a file name'))
    .option('--strength <x>', 'how much of --image is made anew, 0.01 to 1', decimal('--strength', 0.01, 1))
    .option('--mask <png>', 'white where --image is made anew, black where it stays', text('--mask', 'a file name'))
    .option('--noise-level <n>', 'noise on a picture to enlarge by a text, 0 to 1000', whole('--noise-level', 0, 1000))
    .option('--control <png>', 'what a ControlNet sees; once for each', repeated('--control', 'a file name'))
    .option(
      '--count <n>',
      'pictures, for a model that makes them from noise alone, or from codes, 1 to 1024',
      whole('--count', 1, 1024),
    )
    .option(
      '--codes <json>',
      'indices of a codebook to make pictures of, as an earlier run wrote them',
      text('--codes', 'a file name'),
    )
    .option('--tokenizer <source>', 'folder of a tokenizer, for a model in one file', text('--tokenizer', 'a folder'))
    .option(
      '-n, --steps <n>',
      'denoising steps, 1 to 1000 (without --class: by default as the kind of model does)',
      whole('--steps', 1, 1000),
      20,
    )
    .option(
      '--sampler <name>',
      'ddim or ddpm (default: as the model says)',
      choice('--sampler', ['ddim', 'ddpm'] as const),
    )
    .option('-g, --guidance <x>', 'classifier-free guidance scale, 0 to 50; 1 is none', decimal('--guidance', 0, 50), 4)
    .option('--eta <x>', 'noise added by ddim at each step, 0 (none) to 1 (as much as ddpm)', decimal('--eta', 0, 1))
    .option(
      '--temperature <x>',
      'of a model that draws codes: below 1 likelier ones, 0.01 to 10',
      decimal('--temperature', 0.01, 10),
    )
    .option(
      '-s, --seed <n>',
      'seed of the first picture, 0 to 4294967295; the next ones count up',
      whole('--seed', 0, 2 ** 32 - 1),
      0,
    )
    .option(
      '-W, --width <px>',
      'width of a picture (default: the size the model was trained at)',
      whole('--width', 8, 8192),
    )
    .option('-H, --height <px>', 'height of a picture', whole('--height', 8, 8192))
    .option('-b, --batch <n>', 'pictures of each class or text, 1 to 64', whole('--batch', 1, 64), 1)
    .option(
      '-o, --out <path>',
      'folder for the files, or the name of the sheet ending in .png',
      text('--out', 'a folder or a file name'),
      'out',
    )
    .option('--separate', 'also write every picture as a file of its own')
    .option(
      '--scale <n>',
      'enlarge sheet and strip, 1 to 8 (default: 2 for pictures below 128 pixels, else 1)',
      whole('--scale', 1, 8),
    )
    .option(
      '--dtype <type>',
      'storage of weights and activations: auto, f32 or f16; sums are f32 always',
      choice('--dtype', DTYPES),
      'auto',
    )
    .option('-a, --adapter <name>', ADAPTER_HELP, text('--adapter', 'a name'))
    .option('--limits <which>', LIMITS_HELP, choice('--limits', LIMITS), 'auto')
    .addHelpText(
      'after',
      '\nExamples:\n  daguerre generate\n  daguerre generate --class food,flags --batch 4 --seed 7\n  daguerre generate --class 2 --steps 50 --guidance 5 --out cat.png\n' +
        '  daguerre generate --model org/name --prompt "red heart" --prompt "blue heart" --seed 7\n' +
        '  daguerre generate --model folder --prompt "a red door" --image house.png --mask door.png\n' +
        '  daguerre generate --model weights/emoji-vq --image face.png\n',
    )
    .action(async (read, command: Command) => {
      const { class: classes = [], prompt: prompts, control: controls, ...rest } = read;
      const { model = defaultModel(), separate = false, ...others } = rest;
      const own = (['steps', 'guidance'] as const).filter((name) => command.getOptionValueSource(name) === 'default');
      const untold = own.length > 0 ? own : undefined;
      const options = { ...others, classes, prompts, controls, model, separate, untold } as GenerateOptions;
      checkCombination(options);
      await run(options);
    });
}

/** The command line; `done` is told the exit status of the command that ran. */
export function buildProgram(terminal: Terminal, done: (status: number) => void, actions: Actions = ACTIONS): Command {
  const program = new Command('daguerre')
    .description('Diffusion models on WebGPU, in the terminal.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'list commands and options')
    .exitOverride()
    .configureOutput({
      writeOut: (s) => terminal.out(s.trimEnd()),
      writeErr: (s) => terminal.note(s.trimEnd()),
      getOutHelpWidth: () => Math.min(110, terminal.columns),
      getErrHelpWidth: () => Math.min(110, terminal.columns),
    })
    .addHelpText(
      'after',
      '\nExit status: 0 done, 1 failed, 2 wrong option, 130 stopped by Ctrl-C. DAGUERRE_DEBUG=1 shows stacks.',
    );

  addGenerate(program, async (options) => done(await actions.generate(options, terminal)));

  program
    .command('doctor')
    .summary('what WebGPU can do here, what is missing, what to do about it')
    .description('Lists adapter, driver, features and limits; then what is missing, each with the command that helps.')
    .option('--fetch', 'first fetch the software adapters and the browser into the cache folder')
    .option('--json', 'print JSON')
    .action(async (options) => done(await actions.doctor(options, terminal)));

  program
    .command('parity <folder>')
    .summary('compare with recorded outputs of the reference implementations')
    .description('Runs every case of a folder of recorded cases; the exit status is 1 where one failed.')
    .option('--only <glob>', 'only the cases whose name fits, such as "ddim_*"', text('--only', 'a pattern'))
    .option('-a, --adapter <name>', ADAPTER_HELP, text('--adapter', 'a name'))
    .option('--json <file>', 'also write the results as JSON', text('--json', 'a file name'))
    .action(async (folder: string, options) => done(await actions.parity(folder, options, terminal)));

  program
    .command('demo')
    .summary('serve the demo page on this machine')
    .description('Serves the demo page and the emoji model until Ctrl-C.')
    .option('-p, --port <n>', 'port, 0 for any free one', whole('--port', 0, 65535), 5180)
    .option(
      '--host <name>',
      'address to listen on; other machines get in with 0.0.0.0, but WebGPU wants HTTPS there',
      text('--host', 'an address'),
      '127.0.0.1',
    )
    .option('--weights <folder>', 'folder of another model', text('--weights', 'a folder'))
    .action(async (options) => done(await actions.demo(options, terminal)));

  program
    .command('inspect <model>')
    .summary("a model's parts, sizes, classes and memory plan")
    .description("Prints a model's parts, parameters and classes, and plans its memory and work; needs no GPU.")
    .option('-b, --batch <n>', 'pictures at once, 1 to 64', whole('--batch', 1, 64), 1)
    .option('-W, --width <px>', 'width of a picture', whole('--width', 8, 8192))
    .option('-H, --height <px>', 'height of a picture', whole('--height', 8, 8192))
    .option('--keys', 'list every tensor with its shape and type')
    .option('--dtype <type>', 'storage to plan for, f32 or f16', choice('--dtype', ['f32', 'f16'] as const), 'f32')
    .option(
      '--limits <which>',
      'buffers to plan for: default, what every WebGPU device has, or raised, of any size',
      choice('--limits', ['default', 'raised'] as const),
      'default',
    )
    .action(async (model: string, options) => done(await actions.inspect(model, options, terminal)));

  program
    .command('profile [model]')
    .summary('where the time of a step and of the decoder goes')
    .description('Times every dispatch of one step with guidance and of the decoder; default: the emoji model.')
    .option('-b, --batch <n>', 'pictures at once, 1 to 64', whole('--batch', 1, 64), 1)
    .option('-W, --width <px>', 'width of a picture', whole('--width', 8, 8192))
    .option('-H, --height <px>', 'height of a picture', whole('--height', 8, 8192))
    .option('--dtype <type>', 'storage: auto, f32 or f16', choice('--dtype', DTYPES), 'auto')
    .option('-a, --adapter <name>', ADAPTER_HELP, text('--adapter', 'a name'))
    .option('--limits <which>', LIMITS_HELP, choice('--limits', LIMITS), 'auto')
    .option(
      '--trace <file>',
      'also write Chrome traces, FILE-unet.json and FILE-decoder.json',
      text('--trace', 'a file name'),
    )
    .action(async (model: string | undefined, options) =>
      done(await actions.profile(model ?? defaultModel(), options, terminal)),
    );

  return program;
}
