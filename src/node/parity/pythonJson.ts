/** JSON as Python writes it: a solver's config may hold `-Infinity`, which JSON has no word for. */
import { FormatError } from '../../engine/errors.ts';

const WORDS: Readonly<Record<string, string>> = { Infinity: '1e999', '-Infinity': '-1e999', NaN: 'null' };

/** As JSON.parse, but for ±Infinity, and NaN, which becomes null. @throws FormatError */
export function parsePythonJson(text: string, where: string): unknown {
  // Strings are matched whole, so that a word inside one stays what it is.
  const plain = text.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, (token) => WORDS[token] ?? token);
  try {
    return JSON.parse(plain);
  } catch (cause) {
    throw new FormatError(`${where}: expected JSON, got text that is not (${String(cause)}); the file is damaged`, {
      cause,
    });
  }
}
