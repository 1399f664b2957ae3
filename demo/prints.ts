/** The contact sheet's memory: IndexedDB where the browser allows it, else as long as the page lives. */

/** What makes a picture, and makes it again. */
export interface Recipe {
  /** Folder of the model; pictures of earlier versions have none, and are of `emoji`. */
  model?: string;
  /** What a model of words was told. */
  prompt?: string;
  label: number;
  seed: number;
  steps: number;
  guidance: number;
}

export interface Print extends Recipe {
  key: string;
  /** Name of the class, or the words. */
  name: string;
  /** Milliseconds since 1970. */
  made: number;
  png: Blob;
}

/** Two pictures of one recipe are one picture. */
export const keyOf = ({ model = 'emoji', prompt, label, seed, steps, guidance }: Recipe): string => {
  const own = [label, seed, steps, guidance];
  return (model === 'emoji' ? own : [model, ...own, prompt ?? '']).join('/');
};

const STORE = 'prints';

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export class PrintStore {
  private readonly memory = new Map<string, Print>();

  private constructor(private readonly database: IDBDatabase | undefined) {}

  /** Never fails: private windows and full disks get a store that forgets with the page. */
  static async open(): Promise<PrintStore> {
    try {
      const request = indexedDB.open('daguerre-demo', 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: 'key' });
      return new PrintStore(await settled(request));
    } catch {
      return new PrintStore(undefined);
    }
  }

  /** Newest first. */
  async all(): Promise<Print[]> {
    const kept = await this.on('readonly', (store) => store.getAll() as IDBRequest<Print[]>).catch(() => undefined);
    const byKey = new Map([...(kept ?? []), ...this.memory.values()].map((print) => [print.key, print]));
    return [...byKey.values()].sort((a, b) => b.made - a.made);
  }

  /** Whether it will still be there when the page is opened again. */
  async keep(print: Print): Promise<boolean> {
    this.memory.set(print.key, print);
    return this.on('readwrite', (store) => store.put(print)).then(
      (done) => done !== undefined,
      () => false,
    );
  }

  async clear(): Promise<void> {
    this.memory.clear();
    await this.on('readwrite', (store) => store.clear()).catch(() => undefined);
  }

  private async on<T>(
    mode: IDBTransactionMode,
    work: (store: IDBObjectStore) => IDBRequest<T>,
  ): Promise<T | undefined> {
    if (!this.database) return undefined;
    return settled(work(this.database.transaction(STORE, mode).objectStore(STORE)));
  }
}
