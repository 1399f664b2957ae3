/** Options that other kinds of pipelines know: given to one that does not, they are an error and not overlooked. */
import { InvalidArgumentError } from '../engine/index.ts';

/**
 * @param instead what to do, by the option that is refused
 * @throws InvalidArgumentError naming the first of them that is given
 */
export function refuseOptions(options: object, instead: Readonly<Record<string, string>>): void {
  const given = Object.entries(instead).find(([name]) => (options as Record<string, unknown>)[name] !== undefined);
  if (given) throw new InvalidArgumentError(`generate: expected no ${given[0]} for this pipeline; ${given[1]}`);
}
