import { PrintStore, type Print } from './prints.ts';

export interface ContactSheetParts {
  list: HTMLElement;
  empty: HTMLElement;
  clear: HTMLButtonElement;
}

/** Earlier pictures, newest first: a click takes their settings up again, an arrow saves the file. */
export class ContactSheet {
  private readonly urls = new Map<string, string>();

  private constructor(
    private readonly store: PrintStore,
    private readonly parts: ContactSheetParts,
    private readonly onPick: (print: Print) => void,
  ) {}

  static async open(parts: ContactSheetParts, onPick: (print: Print) => void): Promise<ContactSheet> {
    const sheet = new ContactSheet(await PrintStore.open(), parts, onPick);
    parts.clear.addEventListener('click', () => {
      if (confirm('Throw all pictures of this contact sheet away?')) void sheet.clear();
    });
    for (const print of (await sheet.store.all()).reverse()) sheet.show(print);
    sheet.tidy();
    return sheet;
  }

  /** Shows and keeps a picture; the answer is whether it outlives the page. */
  async add(print: Print): Promise<boolean> {
    this.show(print);
    this.tidy();
    return this.store.keep(print);
  }

  private async clear(): Promise<void> {
    await this.store.clear();
    for (const url of this.urls.values()) URL.revokeObjectURL(url);
    this.urls.clear();
    this.parts.list.replaceChildren();
    this.tidy();
  }

  private tidy(): void {
    this.parts.empty.hidden = this.urls.size > 0;
    this.parts.clear.hidden = this.urls.size === 0;
  }

  private show(print: Print): void {
    this.forget(print.key);
    const url = URL.createObjectURL(print.png);
    this.urls.set(print.key, url);

    const image = new Image();
    image.src = url;
    image.alt = print.steps === 0 ? print.name : `${print.name}, seed ${print.seed}`;
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'print';
    const codes = print.steps === 0;
    button.title = codes
      ? 'made of codes; click to take this picture apart'
      : `${print.steps} steps, guidance ${print.guidance}; click to take these settings up again`;
    button.append(image);
    button.addEventListener('click', () => this.onPick(print));

    const name = document.createElement('div');
    name.className = 'name';
    name.textContent = print.name;
    const seed = document.createElement('span');
    seed.textContent = print.steps === 0 ? '' : `seed ${print.seed}`;
    name.append(seed);
    const save = document.createElement('a');
    save.href = url;
    save.download = `${print.name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-')}-seed-${print.seed}.png`;
    save.title = 'Download PNG';
    save.setAttribute('aria-label', `Download ${image.alt}`);
    save.textContent = '↓';

    const caption = document.createElement('figcaption');
    caption.append(name, save);
    const figure = document.createElement('figure');
    figure.append(button, caption);
    const item = document.createElement('li');
    item.dataset.key = print.key;
    item.append(figure);
    this.parts.list.prepend(item);
  }

  private forget(key: string): void {
    const url = this.urls.get(key);
    if (url === undefined) return;
    URL.revokeObjectURL(url);
    this.urls.delete(key);
    for (const item of this.parts.list.children) if ((item as HTMLElement).dataset.key === key) item.remove();
  }
}
