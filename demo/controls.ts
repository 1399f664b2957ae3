import type { Kind } from './models.ts';
import type { Recipe } from './prints.ts';

const MAX_SEED = 2 ** 32 - 1;

/** What to ask for when nothing comes to mind. */
const IDEAS = [
  'red heart',
  'blue square',
  'waving hand: dark skin tone',
  'smiling cat face with heart-eyes',
  'green apple',
  'thumbs up: light skin tone',
  'full moon face',
  'orange circle',
  'snowman',
  'tropical fish',
];

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** The form: what to develop. It is also kept in the page's address, so that a picture can be shared. */
export class Controls {
  readonly form = element<HTMLFormElement>('controls');
  private readonly classes = element<HTMLFieldSetElement>('classes');
  private readonly prompt = element<HTMLInputElement>('prompt');
  private readonly seed = element<HTMLInputElement>('seed');
  private readonly steps = element<HTMLInputElement>('steps');
  private readonly guidance = element<HTMLInputElement>('guidance');

  constructor() {
    this.showValues();
    for (const input of [this.steps, this.guidance]) input.addEventListener('input', () => this.showValues());
    element('dice').addEventListener('click', () => {
      this.seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]);
      this.seed.dispatchEvent(new Event('input', { bubbles: true }));
    });
    element('idea').addEventListener('click', () => {
      const at = IDEAS.indexOf(this.prompt.value);
      this.prompt.value = IDEAS[(at + 1) % IDEAS.length];
    });
    const asked = new URLSearchParams(location.search).get('prompt');
    if (asked) this.prompt.value = asked;
    this.readAddress();
  }

  /** Shows what a kind of model is told, and nothing else. */
  use(kind: Kind): void {
    for (const part of this.form.querySelectorAll<HTMLFieldSetElement>('[data-kind]')) {
      const wanted = part.dataset.kind!.split(' ').includes(kind);
      part.hidden = !wanted;
      part.disabled = !wanted;
    }
    element('develop').textContent = kind === 'codes' ? 'Take apart' : 'Develop';
  }

  /** Offers the model's classes, and takes up what the page's address asks for. */
  offer(labels: Readonly<Record<number, string>>): void {
    const chosen = this.form.querySelector<HTMLInputElement>('input[name=class]:checked')?.value;
    const choices = document.createElement('div');
    choices.className = 'choices';
    for (const [id, name] of Object.entries(labels)) {
      const input = document.createElement('input');
      input.type = 'radio';
      input.name = 'class';
      input.value = id;
      input.required = true;
      input.checked = id === chosen;
      const text = document.createElement('span');
      text.textContent = name;
      const label = document.createElement('label');
      label.append(input, text);
      choices.append(label);
    }
    this.classes.replaceChildren(this.classes.querySelector('legend')!, choices);
    if (chosen === undefined) {
      const all = [...this.form.querySelectorAll<HTMLInputElement>('input[name=class]')];
      const asked = new URLSearchParams(location.search).get('class');
      (all.find(({ value }) => value === asked) ?? all[0]).checked = true;
    }
  }

  get recipe(): Recipe {
    const label = this.form.querySelector<HTMLInputElement>('input[name=class]:checked');
    const { value: prompt } = this.prompt;
    return {
      label: Number(label?.value ?? 0),
      prompt: this.prompt.matches(':disabled') ? undefined : prompt.trim(),
      seed: this.seed.valueAsNumber,
      steps: this.steps.valueAsNumber,
      guidance: this.guidance.valueAsNumber,
    };
  }

  /** Values outside the controls' ranges are brought to their nearest end, as range inputs do. */
  set recipe({ label, prompt, seed, steps, guidance }: Recipe) {
    if (prompt) this.prompt.value = prompt;
    const input = this.form.querySelector<HTMLInputElement>(`input[name=class][value="${label}"]`);
    if (input) input.checked = true;
    this.seed.value = String(Math.min(MAX_SEED, Math.max(0, Math.trunc(seed) || 0)));
    this.steps.value = String(steps);
    this.guidance.value = String(guidance);
    this.showValues();
  }

  /** @param model whose settings they are; the page's first one goes without saying */
  writeAddress(model?: string): void {
    const { label, prompt, seed, steps, guidance } = this.recipe;
    const settings = {
      ...(prompt === undefined ? { class: `${label}` } : { prompt }),
      seed: `${seed}`,
      steps: `${steps}`,
      guidance: `${guidance}`,
    };
    const isAsked = !this.seed.matches(':disabled');
    const query = new URLSearchParams({ ...(model !== undefined && { model }), ...(isAsked && settings) });
    history.replaceState(null, '', `?${query}`);
  }

  private readAddress(): void {
    const query = new URLSearchParams(location.search);
    const { label, seed, steps, guidance } = this.recipe;
    const read = (name: string, fallback: number): number => {
      const text = query.get(name);
      return text !== null && text !== '' && Number.isFinite(Number(text)) ? Number(text) : fallback;
    };
    this.recipe = {
      label: read('class', label),
      seed: read('seed', seed),
      steps: read('steps', steps),
      guidance: read('guidance', guidance),
    };
  }

  private showValues(): void {
    element('steps-shown').textContent = this.steps.value;
    element('guidance-shown').textContent = this.guidance.value;
    for (const { style, value, min, max } of [this.steps, this.guidance]) {
      style.setProperty('--fill', `${(100 * (Number(value) - Number(min))) / (Number(max) - Number(min))}%`);
    }
  }
}
