/** The models that the page knows, and which of them are beside it. */

/** What a model makes pictures from. */
export type Kind = 'class' | 'text' | 'codes';

/** A folder beside the page. */
export interface Model {
  /** Folder below `./weights/`. */
  id: string;
  /** What its choice is called. */
  name: string;
  kind: Kind;
  /** The file by which it is known to be there. */
  file: 'model_index.json' | 'config.json';
  /** What it is, in a line. */
  about: string;
}

/** In the order in which they are offered; the first one is there always. */
export const MODELS: readonly Model[] = [
  {
    id: 'emoji',
    name: 'Subjects',
    kind: 'class',
    file: 'model_index.json',
    about: 'A U-Net that draws a new emoji of one of nine groups.',
  },
  {
    id: 'emoji-text',
    name: 'Words',
    kind: 'text',
    file: 'model_index.json',
    about: 'A text encoder and a U-Net that reads it: say what to see.',
  },
  {
    id: 'emoji-dit',
    name: 'Transformer',
    kind: 'class',
    file: 'model_index.json',
    about: 'The same nine groups by a diffusion transformer.',
  },
  {
    id: 'emoji-vq',
    name: 'Codes',
    kind: 'codes',
    file: 'config.json',
    about: 'An autoencoder that writes a picture in an alphabet of 4,096 signs, and reads it again.',
  },
];

/** Where a model's folder is. */
export const folderOf = ({ id }: Model): URL => new URL(`./weights/${id}/`, document.baseURI);

/** Whether a server has a model; a failed request is a no. */
async function isThere(model: Model): Promise<boolean> {
  try {
    const response = await fetch(new URL(model.file, folderOf(model)), { method: 'HEAD' });
    return response.ok;
  } catch {
    return false;
  }
}

/** The choice of a model: models that are not beside the page are not offered; with one alone there is no choice. */
export class ModelChoice {
  private readonly group = document.getElementById('models') as HTMLFieldSetElement;
  private chosen: Model;

  constructor(private readonly onChoice: (model: Model) => void) {
    const asked = new URLSearchParams(location.search).get('model');
    this.chosen = MODELS.find(({ id }) => id === asked) ?? MODELS[0];
  }

  get model(): Model {
    return this.chosen;
  }

  /** Looks which models are there, and shows them. */
  async offer(): Promise<void> {
    const there = await Promise.all(MODELS.map(async (model, i) => i === 0 || (await isThere(model))));
    const models = MODELS.filter((_, i) => there[i]);
    if (!models.includes(this.chosen)) this.chosen = MODELS[0];
    this.group.hidden = models.length < 2;
    const choices = document.createElement('div');
    choices.className = 'choices';
    for (const model of models) {
      const input = document.createElement('input');
      input.type = 'radio';
      input.name = 'model';
      input.value = model.id;
      input.checked = model === this.chosen;
      input.addEventListener('change', () => {
        this.chosen = model;
        this.describe();
        this.onChoice(model);
      });
      const text = document.createElement('span');
      text.textContent = model.name;
      const label = document.createElement('label');
      label.append(input, text);
      choices.append(label);
    }
    this.group.querySelector('.choices')?.remove();
    this.group.querySelector('legend')!.after(choices);
    this.describe();
  }

  /**
   * Chooses as a click would, which does nothing while pictures are made; the answer is whether it is the model now.
   */
  choose(id: string): boolean {
    const input = this.group.querySelector<HTMLInputElement>(`input[value="${CSS.escape(id)}"]`);
    if (input && !input.checked) input.click();
    return this.chosen.id === id;
  }

  /** A choice cannot be made while pictures are. */
  set busy(value: boolean) {
    this.group.disabled = value;
  }

  private describe(): void {
    this.group.querySelector('.hint')!.textContent = this.chosen.about;
  }
}
