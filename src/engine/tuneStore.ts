/** Where measurements are kept between sessions, and in what form. */
import { FormatError } from './errors.ts';

/** A place for small texts by name: IndexedDB in browsers, files in Node. */
export interface TuneStore {
  /** Undefined where there is none of that name. */
  read(name: string): Promise<string | undefined>;
  write(name: string, text: string): Promise<void>;
}

/** What was measured for one class of shapes. */
export interface TuneEntry {
  /** The way that was chosen. */
  way: string;
  /** Hash of the ways and their kernels: an entry of another version says nothing. */
  version: string;
  /** Milliseconds by way, for people who wonder. */
  times: Readonly<Record<string, number>>;
}

const FORMAT = 1;

/** The text of a document. */
export function printTuning(entries: ReadonlyMap<string, TuneEntry>): string {
  return JSON.stringify({ format: FORMAT, entries: Object.fromEntries(entries) }, undefined, 1);
}

/** @throws FormatError for what is no document of this format. */
export function parseTuning(text: string): Map<string, TuneEntry> {
  let document: { format?: unknown; entries?: unknown } | null;
  try {
    document = JSON.parse(text) as typeof document;
  } catch (cause) {
    throw new FormatError('tuning: expected JSON, got something else', { cause });
  }
  const entries = document?.entries;
  if (document?.format !== FORMAT || typeof entries !== 'object' || entries === null) {
    throw new FormatError(`tuning: expected format ${FORMAT}, got ${JSON.stringify(document?.format)}`);
  }
  for (const [key, entry] of Object.entries(entries as Record<string, Partial<TuneEntry> | null>)) {
    if (typeof entry?.way !== 'string' || typeof entry.version !== 'string' || typeof entry.times !== 'object') {
      throw new FormatError(`tuning: expected a way, a version and times for ${key}`);
    }
  }
  return new Map(Object.entries(entries as Record<string, TuneEntry>));
}

/** 53 bits of a text's hash, in base 36 (cyrb53): for names and versions, not for secrets. */
export function hashText(text: string): string {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    a = Math.imul(a ^ c, 2654435761);
    b = Math.imul(b ^ c, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
}

/** A store in IndexedDB; undefined where there is none. */
export function browserTuneStore(name = 'daguerre-tuning'): TuneStore | undefined {
  const { indexedDB } = globalThis;
  if (!indexedDB) return undefined;
  const request = <T>(ask: IDBRequest<T>) =>
    new Promise<T>((resolve, reject) => {
      ask.onsuccess = () => resolve(ask.result);
      ask.onerror = () => reject(ask.error ?? new FormatError(`tuning: IndexedDB ${name} failed`));
    });
  const on = async <T>(mode: IDBTransactionMode, ask: (documents: IDBObjectStore) => IDBRequest<T>): Promise<T> => {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore('documents');
    const database = await request(opening);
    try {
      return await request(ask(database.transaction('documents', mode).objectStore('documents')));
    } finally {
      database.close(); // left open, it would keep a page of a later version waiting for its own
    }
  };
  return {
    async read(key) {
      const text = await on<unknown>('readonly', (documents) => documents.get(key));
      return typeof text === 'string' ? text : undefined;
    },
    async write(key, text) {
      await on('readwrite', (documents) => documents.put(text, key));
    },
  };
}
