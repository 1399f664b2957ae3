/** The codes of a picture as a map of colours: two clicks let two of them change places. */
import { codePicture } from '../src/pipelines/autoencoder/codePicture.ts';
import type { Codes } from '../src/pipelines/autoencoder/autoencoderPipeline.ts';

/** Pixels of a cell on the map's canvas. */
const CELL = 8;

const element = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;

/** A picture as bytes. */
export type Picture = Pick<ImageData, 'data' | 'width' | 'height'>;

/** The picture that is taken apart, and its codes. */
export class CodeMap {
  private readonly canvas = element<HTMLCanvasElement>('codes');
  private readonly source = element<HTMLCanvasElement>('source');
  private readonly file = element<HTMLInputElement>('file');
  private readonly hint = element('drop-hint');
  private readonly invitation = this.hint.textContent;
  private codes: Codes | undefined;
  private held: number | undefined;
  /** The cell that the keyboard has gone to. */
  private cursor = 0;

  /**
   * @param size of a picture in pixels
   * @param onPicture a new picture was given
   * @param onCodes codes were changed by hand
   */
  constructor(
    private readonly size: () => { width: number; height: number },
    private readonly onPicture: () => void,
    private readonly onCodes: (codes: Codes) => void,
  ) {
    this.file.addEventListener('change', () => {
      if (this.file.files?.[0]) void this.take(this.file.files[0]);
      this.file.value = ''; // so that the same file can be chosen again
    });
    const drop = element('drop');
    for (const name of ['dragover', 'dragleave', 'drop'] as const) {
      drop.addEventListener(name, (event) => {
        event.preventDefault();
        drop.classList.toggle('over', name === 'dragover');
        const file = name === 'drop' ? event.dataTransfer?.files[0] : undefined;
        if (file) void this.take(file);
      });
    }
    this.canvas.addEventListener('click', (event) => {
      const { left, top, width, height } = this.canvas.getBoundingClientRect();
      this.pointAt((event.clientX - left) / width, (event.clientY - top) / height);
    });
    this.canvas.addEventListener('keydown', (event) => this.press(event));
    for (const name of ['focus', 'blur']) this.canvas.addEventListener(name, () => this.draw());
    element('shuffle').addEventListener('click', () => this.shuffle());
  }

  /** The picture, of the model's size; a still life where none was given. */
  get picture(): Picture {
    const context = this.source.getContext('2d', { willReadFrequently: true })!;
    const { width, height } = this.size();
    if (this.source.width !== width || this.source.height !== height || this.source.dataset.given === undefined) {
      Object.assign(this.source, { width, height });
      stillLife(context, width, height);
      this.source.dataset.given = 'still life';
    }
    return context.getImageData(0, 0, width, height);
  }

  /** Shows a picture of any size, cut to the model's shape. */
  async take(blob: Blob): Promise<void> {
    let bitmap: ImageBitmap;
    try {
      bitmap = await createImageBitmap(blob);
    } catch {
      this.hint.textContent = 'That file is no picture that this browser reads; choose or drop another.';
      return;
    }
    this.hint.textContent = this.invitation;
    const { width, height } = this.size();
    Object.assign(this.source, { width, height });
    const context = this.source.getContext('2d', { willReadFrequently: true })!;
    const scale = Math.max(width / bitmap.width, height / bitmap.height);
    const [w, h] = [bitmap.width * scale, bitmap.height * scale];
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = 'high';
    context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
    bitmap.close();
    this.source.dataset.given = 'yours';
    this.onPicture();
  }

  /** Shows codes; undefined for none yet. */
  show(codes: Codes | undefined): void {
    this.codes = codes;
    this.held = undefined;
    this.canvas.hidden = codes === undefined;
    element<HTMLButtonElement>('shuffle').disabled = codes === undefined;
    this.draw();
  }

  private draw(): void {
    if (!this.codes) return;
    const { data, width, height } = codePicture(this.codes, CELL);
    Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext('2d')!;
    context.putImageData(new ImageData(data, width, height), 0, 0);
    const columns = this.codes.shape[2];
    const frame = (cell: number, colour: string) => {
      const [x, y] = [(cell % columns) * CELL, Math.floor(cell / columns) * CELL];
      context.lineWidth = 2;
      context.strokeStyle = colour;
      context.strokeRect(x + 1, y + 1, CELL - 2, CELL - 2);
    };
    if (this.canvas.matches(':focus-visible')) frame(this.cursor, '#000');
    if (this.held !== undefined) frame(this.held, '#fff');
  }

  private pointAt(x: number, y: number): void {
    if (!this.codes) return;
    const [, h, w] = this.codes.shape;
    this.pick(Math.min(h - 1, Math.floor(y * h)) * w + Math.min(w - 1, Math.floor(x * w)));
  }

  private press(event: KeyboardEvent): void {
    if (!this.codes) return;
    const [, h, w] = this.codes.shape;
    const [x, y] = [this.cursor % w, Math.floor(this.cursor / w)];
    const moved = {
      ArrowLeft: [x - 1, y],
      ArrowRight: [x + 1, y],
      ArrowUp: [x, y - 1],
      ArrowDown: [x, y + 1],
    }[event.key];
    if (!moved && event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault(); // the page would scroll
    if (!moved) return this.pick(this.cursor);
    const [column, line] = [Math.min(w - 1, Math.max(0, moved[0])), Math.min(h - 1, Math.max(0, moved[1]))];
    this.cursor = line * w + column;
    this.draw();
  }

  /** The first cell is held, the second changes places with it. */
  private pick(cell: number): void {
    if (this.held === undefined) {
      this.held = cell;
      this.draw();
      return;
    }
    if (this.held !== cell) this.swap([[this.held, cell]]);
    this.held = undefined;
    this.draw();
  }

  /** A dozen pairs at random. */
  private shuffle(): void {
    if (!this.codes) return;
    const { length } = this.codes.data;
    const any = () => Math.floor(Math.random() * length);
    this.swap(Array.from({ length: 12 }, () => [any(), any()] as const));
  }

  private swap(pairs: readonly (readonly [number, number])[]): void {
    const data = this.codes!.data.slice();
    for (const [a, b] of pairs) [data[a], data[b]] = [data[b], data[a]];
    this.onCodes({ ...this.codes!, data });
  }
}

/** A red heart above a sun, for those who have no picture at hand. */
function stillLife(context: CanvasRenderingContext2D, width: number, height: number): void {
  context.save();
  context.scale(width / 64, height / 64);
  context.fillStyle = '#fff';
  context.fillRect(0, 0, 64, 64);
  context.fillStyle = '#ffcc4d';
  context.beginPath();
  context.arc(32, 32, 27, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = '#dd2e44';
  context.beginPath();
  context.moveTo(32, 52);
  context.bezierCurveTo(4, 32, 12, 12, 24, 14);
  context.bezierCurveTo(29, 15, 32, 20, 32, 22);
  context.bezierCurveTo(32, 20, 35, 15, 40, 14);
  context.bezierCurveTo(52, 12, 60, 32, 32, 52);
  context.fill();
  context.restore();
}
