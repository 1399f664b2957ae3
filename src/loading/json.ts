import { FormatError } from '../engine/errors.ts';

/** Decodes UTF-8, refusing anything else. @throws FormatError */
export function decodeUtf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`${where}: expected UTF-8 text, got other bytes; the file is damaged or of another kind`, {
      cause,
    });
  }
}

/**
 * JSON.parse that also refuses an object with the same key twice, of which JSON.parse keeps only the last.
 * @throws FormatError
 */
export function parseJson(text: string, where: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FormatError(`${where}: expected JSON, got text that is not (${reason}); the file is damaged`, { cause });
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) {
    throw new FormatError(
      `${where}: expected every key once, got ${JSON.stringify(twice)} twice; which one counts is undefined, so write ` +
        'the file again',
    );
  }
  return value;
}

/** What stands for NaN until the text is parsed: JSON has no way to write one, as 1e999 is one to write infinity. */
const NAN_MARK = '\u0000NaN';
const WORDS: Readonly<Record<string, string>> = {
  Infinity: '1e999',
  '-Infinity': '-1e999',
  NaN: JSON.stringify(NAN_MARK),
};

/**
 * {@link parseJson} of JSON as Python writes it: the words `Infinity`, `-Infinity` and `NaN` are numbers. Configs of
 * schedulers hold them.
 * @throws FormatError
 */
export function parsePythonJson(text: string, where: string): unknown {
  if (!/Infinity|NaN/.test(text)) return parseJson(text, where);
  // Strings are matched whole, so that a word inside one stays what it is.
  const token = /"(?:[^"\\]|\\.)*"|(?<![\w.+-])(?:-?Infinity|NaN)(?![\w.]|\s*:)/g;
  const plain = text.replace(token, (found) => WORDS[found] ?? found);
  return withNaN(parseJson(plain, where));
}

function withNaN(value: unknown): unknown {
  if (value === NAN_MARK) return NaN;
  if (Array.isArray(value)) return value.map(withNaN);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withNaN(item)]));
}

/** The object that a JSON text is. @throws FormatError unless it is JSON, an object, and has no key twice */
export function parseJsonObject(text: string, where: string): Record<string, unknown> {
  const value = parseJson(text, where);
  if (!isObject(value)) {
    throw new FormatError(`${where}: expected a JSON object, got ${kindOf(value)}; this is another kind of file`);
  }
  return value;
}

/** Whether a parsed value is an object, neither null nor an array. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a parsed value is, in words for a message. */
export function kindOf(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

/** As JSON.stringify, but an infinity or NaN is shown as itself, alone or in a list; stringify would write null. */
export function jsonText(value: unknown): string {
  if (typeof value === 'number') return String(value);
  return Array.isArray(value) ? `[${value.map(jsonText).join(',')}]` : (JSON.stringify(value) ?? String(value));
}

/** {@link jsonText} of at most 80 characters, for messages; `nothing` for undefined. */
export function brief(value: unknown): string {
  const text = value === undefined ? 'nothing' : jsonText(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/**
 * First key that occurs twice in one object of a text that JSON.parse has accepted; undefined if there is none.
 * Since the syntax is known to be right, a string is a key exactly when the next visible character is a colon.
 */
export function duplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b) {
      open.push(new Set());
    } else if (c === 0x7d) {
      open.pop();
    } else if (c === 0x22) {
      const start = i;
      let escaped = false;
      for (i++; text.charCodeAt(i) !== 0x22; i++) {
        if (text.charCodeAt(i) === 0x5c) {
          escaped = true;
          i++;
        }
      }
      let next = i + 1;
      while (text.charCodeAt(next) <= 0x20) next++;
      if (text.charCodeAt(next) !== 0x3a) continue;
      const key = escaped ? (JSON.parse(text.slice(start, i + 1)) as string) : text.slice(start + 1, i);
      const keys = open[open.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
