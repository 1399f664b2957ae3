/**
 * The whole bench in slices, each a run of its own: a machine with a GPU is often lent for minutes, and a driver that
 * falls over in one of them takes no other along.
 */
import { PUBLISHED } from '../models/published.ts';
import { SHAPES } from '../kernels/shapes.ts';

export interface Slice {
  name: string;
  /** Options of the bench. */
  args: readonly string[];
}

/** Shapes in a slice: with peers, or in a dozen ways, so many should take a GPU a minute or two. */
const TOGETHER = { kernels: 6, candidates: 3 } as const;

/** Models first, the largest of them first; then kernels, and last, without peers, every way of computing them. */
export function allSlices(): Slice[] {
  const dtypes = ['f32', 'f16'] as const;
  const models = [...Object.values(PUBLISHED).map((m) => m.case)].reverse().concat('emoji/*', 'emoji-picture/*');
  const slice = (suite: string, dtype: string, name: string, only: readonly string[]): Slice => ({
    name: `${suite}-${dtype}-${name.replace(/[^\w.-]+/g, '-').replace(/-+$/, '')}`,
    args: ['--suite', suite, '--dtype', dtype, '--only', only.join(',')],
  });
  return [
    ...dtypes.flatMap((dtype) => models.map((name) => slice('models', dtype, name, [name]))),
    ...(['kernels', 'candidates'] as const).flatMap((suite) =>
      dtypes.flatMap((dtype) =>
        kernelChunks(TOGETHER[suite]).map(({ name, cases }) => slice(suite, dtype, name, cases)),
      ),
    ),
  ];
}

/** Kernels group by group, not too many at once. */
function kernelChunks(together: number): { name: string; cases: string[] }[] {
  const groups = new Map<string, string[]>();
  for (const { id, problem } of SHAPES) {
    groups.set(problem.op, [...(groups.get(problem.op) ?? []), `${problem.op}/${id}`]);
  }
  return [...groups].flatMap(([op, cases]) => {
    const parts = Math.ceil(cases.length / together);
    return Array.from({ length: parts }, (_, i) => ({
      name: parts > 1 ? `${op}-${i + 1}` : op,
      cases: cases.slice(i * together, (i + 1) * together),
    }));
  });
}
