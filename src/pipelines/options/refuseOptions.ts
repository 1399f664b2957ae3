/** Options that other kinds of pipelines know: given to one that does not, they are an error and not overlooked. */
import { InvalidArgumentError } from '../../engine/index.ts';

/**
 * @param instead what to do, by the option that is refused
 * @param Refusal the error; by default InvalidArgumentError
 * @throws it, naming the first of them that is given
 */
export function refuseOptions(
  options: object,
  instead: Readonly<Record<string, string>>,
  Refusal: new (message: string) => Error = InvalidArgumentError,
): void {
  const given = Object.entries(instead).find(([name]) => (options as Record<string, unknown>)[name] !== undefined);
  if (given) throw new Refusal(`generate: expected no ${given[0]} for this pipeline; ${given[1]}`);
}
