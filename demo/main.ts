/** The dark room: wires the form, the plate and the contact sheet to one pipeline. */
import { AbortedError, describe, DeviceLostError, Pipeline } from '../src/index.ts';
import type { AutoencoderResult, Codes } from '../src/pipelines/autoencoder/autoencoderPipeline.ts';
import type { GenerationResult, StepProgress } from '../src/pipelines/options/generation.ts';
import { ContactSheet } from './contactSheet.ts';
import { CodeMap } from './codes.ts';
import { Controls } from './controls.ts';
import { folderOf, type Model, ModelChoice } from './models.ts';
import { keyOf, type Print } from './prints.ts';
import { type Advice, findObstacle } from './webgpu.ts';

type State = 'loading' | 'ready' | 'developing' | 'failed';
type LoadedPipeline = Awaited<ReturnType<typeof Pipeline.fromPretrained>>;

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const plate = element<HTMLCanvasElement>('plate');
const progress = element<HTMLProgressElement>('progress');
const status = element('status');
const develop = element<HTMLButtonElement>('develop');
const cancel = element<HTMLButtonElement>('cancel');
const controls = new Controls();

let pipeline: LoadedPipeline | undefined;
let running: AbortController | undefined;

const sheet = await ContactSheet.open(
  { list: element('contact'), empty: element('contact-empty'), clear: element<HTMLButtonElement>('clear') },
  (print) => {
    if (!choice.choose(print.model ?? 'emoji')) return;
    if (print.steps === 0) void map.take(print.png);
    else controls.recipe = print;
    if (!develop.disabled) develop.focus();
    controls.form.scrollIntoView({ block: 'nearest' });
  },
);
const choice = new ModelChoice((model) => void load(model));
const map = new CodeMap(
  () => pipeline?.sampleSize ?? { width: 64, height: 64 },
  () => pipeline && !running && choice.model.kind === 'codes' && void readPicture(pipeline),
  (codes) => pipeline && !running && void readPicture(pipeline, codes),
);

function enter(state: State, text: string): void {
  document.body.dataset.state = state;
  status.textContent = text;
  develop.disabled = state !== 'ready';
  cancel.disabled = state !== 'developing';
  choice.busy = state === 'developing' || state === 'loading';
}

/** Shows what went wrong, what to do, and one button that does it. */
function notify({ title, text, steps }: Advice, label: string, act: () => void): void {
  element('notice-title').textContent = title;
  element('notice-text').textContent = text;
  element('notice-steps').replaceChildren(
    ...steps.map((step) => Object.assign(document.createElement('li'), { textContent: step })),
  );
  const button = element<HTMLButtonElement>('notice-action');
  button.textContent = label;
  button.onclick = () => {
    hideNotice();
    act();
  };
  element('notice').hidden = false;
}

function hideNotice(): void {
  element('notice').hidden = true;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Lets the browser show what was drawn; a hidden tab gets no frames, and must not stop for that. */
const nextFrame = (): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, 100);
    requestAnimationFrame(() => {
      clearTimeout(timer);
      resolve();
    });
  });

async function load(model: Model = choice.model): Promise<void> {
  enter('loading', 'Opening the dark room …');
  const old = pipeline;
  pipeline = undefined;
  await old?.dispose().catch(() => undefined);
  controls.use(model.kind);
  map.show(undefined);
  const obstacle = await findObstacle();
  if (obstacle) {
    enter('failed', 'Nothing can be developed yet; the message above says why.');
    notify(obstacle, 'Try again', () => void load());
    return;
  }
  try {
    const loaded = await Pipeline.fromPretrained(folderOf(model), {
      dtype: 'f32',
      onProgress: (p) => {
        progress.value = p.progress;
        if (p.status === 'compile') {
          status.textContent = `Preparing the bath: ${p.loaded} of ${p.total} shaders compiled`;
        } else {
          const [done, total] = [p.loaded, p.total].map((bytes) => (bytes / 1e6).toFixed(1));
          status.textContent = `Loading the model: ${p.file}, ${done} of ${total} MB`;
        }
      },
    });
    pipeline = loaded;
    void loaded.device.gpu.lost.then(({ reason, message }) => {
      if (pipeline === loaded && reason !== 'destroyed') lost(message);
    });
    if (model.kind === 'class') controls.offer(loaded.labels);
    if (model.kind === 'codes') void map.picture; // draws one where none was given
    element('adapter').textContent = `Computed here, on ${describe(loaded.device.info)}.`;
    progress.value = 0;
    enter('ready', 'The plate is ready.');
  } catch (error) {
    enter('failed', 'The model could not be loaded.');
    notify(
      { title: 'The model could not be loaded', text: messageOf(error), steps: [] },
      'Reload the model',
      () => void load(),
    );
  }
}

/** The graphics device is gone with everything on it; the model has to be loaded again. */
function lost(why: string): void {
  const old = pipeline;
  pipeline = undefined;
  running?.abort();
  void old?.dispose().catch(() => undefined);
  enter('failed', 'The graphics device was lost.');
  const text = `${why ? `It says: ${why} ` : ''}That happens when a driver restarts or the machine wakes up. Your pictures are kept.`;
  notify({ title: 'The graphics device was lost', text, steps: [] }, 'Reload the model', () => void load());
}

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
const duration = (ms: number): string => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

async function developPicture(pipe: LoadedPipeline): Promise<void> {
  const { model } = choice;
  const recipe = { model: model.id, ...controls.recipe };
  const name = recipe.prompt ?? pipe.labels[recipe.label];
  const { signal } = (running = new AbortController());
  let done = 0;
  let nextPreview = 0;
  hideNotice();
  controls.writeAddress(model.id === 'emoji' ? undefined : model.id);
  progress.value = 0;
  // The first picture of a size compiles its kernels before its first step.
  enter('developing', 'Mixing the chemicals …');
  plate.setAttribute('aria-label', `${name}, seed ${recipe.seed}, developing`);
  cancel.focus({ preventScroll: true });
  plate.scrollIntoView({ block: 'nearest' });
  try {
    const call = recipe.prompt === undefined ? { classLabels: recipe.label } : { prompt: recipe.prompt };
    const { images, timing } = await (pipe as (options: object) => Promise<GenerationResult>)({
      ...call,
      generator: recipe.seed,
      numInferenceSteps: recipe.steps,
      guidanceScale: recipe.guidance,
      signal,
      onStep: async ({ step, steps, preview }: StepProgress) => {
        done = step;
        // At every step where a preview is quick; never for more than half of the time, as on a software adapter.
        const before = performance.now();
        if (before >= nextPreview) {
          const [image] = await preview();
          await image.toCanvas(plate);
          image.dispose();
          await pipe.device.idle();
          nextPreview = 2 * performance.now() - before;
        }
        progress.value = step / steps;
        status.textContent = `Developing: step ${step} of ${steps}`;
        await nextFrame();
      },
    });
    const [image] = images;
    await image.toCanvas(plate);
    const png = await image.toBlob();
    image.dispose();
    const kept = await sheet.add({ ...recipe, key: keyOf(recipe), name, made: Date.now(), png });
    plate.setAttribute('aria-label', `${name}, seed ${recipe.seed}, developed in ${recipe.steps} steps`);
    const times = `${duration(median(timing.stepMs))} per step, ${duration(timing.totalMs)} in all`;
    enter('ready', `${name}, seed ${recipe.seed}: ${times}.${kept ? '' : ' Kept only until this page is closed.'}`);
  } catch (error) {
    if (pipeline !== pipe) return; // The device was lost, which has been told.
    progress.value = 0;
    if (error instanceof DeviceLostError) return lost(error.message);
    if (error instanceof AbortedError) {
      enter('ready', `Cancelled at step ${done} of ${recipe.steps}. The plate can be used again.`);
      return;
    }
    enter('ready', 'The picture could not be developed.');
    notify({ title: 'The picture could not be developed', text: messageOf(error), steps: [] }, 'Dismiss', hideNotice);
  } finally {
    running = undefined;
    if (document.activeElement === cancel || document.activeElement === document.body) {
      develop.focus({ preventScroll: true });
    }
  }
}

/** Takes the picture apart into codes, or codes that were changed, and shows what they say. */
async function readPicture(pipe: LoadedPipeline, codes?: Codes): Promise<void> {
  const { signal } = (running = new AbortController());
  // Who changes codes goes on with them.
  const origin = codes && document.activeElement instanceof HTMLElement ? document.activeElement : develop;
  hideNotice();
  controls.writeAddress(choice.model.id);
  progress.value = 0;
  enter('developing', codes ? 'Reading the signs anew …' : 'Taking the picture apart …');
  cancel.focus({ preventScroll: true });
  try {
    await nextFrame();
    const given = codes ? { indices: codes } : { image: map.picture };
    const { images, indices, timing } = (await pipe({ ...given, signal })) as AutoencoderResult;
    const [image] = images;
    await image.toCanvas(plate);
    const png = await image.toBlob();
    image.dispose();
    map.show(indices);
    const [, h, w] = indices!.shape;
    const used = new Set(indices!.data).size;
    const name = codes ? 'Signs that changed places' : 'A picture of signs';
    const { id } = choice.model;
    const made = Date.now();
    const print: Print = {
      key: `${id}/${made}`,
      model: id,
      label: 0,
      seed: made % 2 ** 32,
      steps: 0,
      guidance: 0,
      name,
      made,
      png,
    };
    await sheet.add(print);
    plate.setAttribute('aria-label', `${name}: ${h} rows of ${w}, ${used} different`);
    progress.value = 1;
    const text = `${w} × ${h} signs, ${used} different ones of ${pipe.codebookSize!.toLocaleString('en')}`;
    enter('ready', `${text}: ${duration(timing.totalMs)}.`);
  } catch (error) {
    if (pipeline !== pipe) return; // The device was lost, which has been told.
    progress.value = 0;
    if (error instanceof DeviceLostError) return lost(error.message);
    if (error instanceof AbortedError) {
      enter('ready', 'Cancelled. The plate can be used again.');
      return;
    }
    enter('ready', 'The picture could not be read.');
    notify({ title: 'The picture could not be read', text: messageOf(error), steps: [] }, 'Dismiss', hideNotice);
  } finally {
    running = undefined;
    if (document.activeElement === cancel || document.activeElement === document.body) {
      (origin === document.body ? develop : origin).focus({ preventScroll: true });
    }
  }
}

controls.form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (!pipeline || running) return;
  void (choice.model.kind === 'codes' ? readPicture(pipeline) : developPicture(pipeline));
});
cancel.addEventListener('click', () => running?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
});

await choice.offer();
await load();
