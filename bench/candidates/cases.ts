/**
 * The suite `candidates`: every way of computing a shape of the kernel suite that its op offers on this adapter, those
 * that the tuner never tries included, and doing without subgroups. All ways of a shape take turns, on one device and
 * with one copy of the weights, each once its result is that of the usual way; the usual way takes part a second time,
 * to show the noise.
 */
import {
  LimitError,
  lowerNodes,
  type Capabilities,
  type ChoicePlace,
  type Device,
  type Graph,
} from '../../src/engine/index.ts';
import { rewritten } from '../../src/engine/prepare.ts';
import { waysOf } from '../../src/engine/tunePlaces.ts';
import { rewrites } from '../../src/kernels/index.ts';
import { F16_PIPELINE, NETWORK_NORM } from '../../test/support/close.ts';
import type { BenchCase } from '../case.ts';
import { kernelCase, problemWork } from '../kernels/cases.ts';
import { recordProblem } from '../kernels/record.ts';
import { SHAPES, type Shape } from '../kernels/shapes.ts';
import { ProgramSubject, type ProgramWork } from '../programSubject.ts';
import type { Candidate } from '../result.ts';
import { signatureOf, SUBGROUPS, withoutSubgroups } from '../subgroups.ts';
import { MismatchError, verifyNorm } from '../verify.ts';

export type Way = Pick<Candidate, 'way' | 'role'>;

/** ‖way − usual‖ / ‖usual‖. */
const TOLERANCE = { f32: NETWORK_NORM, f16: F16_PIPELINE } as const;
/** Where an op has but one way. */
const ONLY = 'usual';
const WITHOUT = 'without subgroups';
const AGAIN = 'once more';
/** Attention as cards do it, which takes a processor's driver ten seconds to translate. */
const FOR_CARDS = /^(row|block|tile )/;

/** All shapes, of those that can be computed in more than one way. */
export const candidateCases = (dtype: 'f32' | 'f16', caps: Capabilities): BenchCase[] =>
  SHAPES.flatMap((shape) => shapeCases(shape, dtype, candidateWays(recordProblem(shape.problem, dtype), caps)));

/**
 * The ways of a graph of one op on an adapter, the usual one first; none where there is one only, or it does not fit.
 */
export function candidateWays(graph: Graph, caps: Capabilities): Way[] {
  const { place, signatures } = placeOf(graph, caps) ?? {};
  if (!signatures) return [];
  const usual = place?.usual ?? ONLY;
  const roleOf = (way: string) => (place?.ways.includes(way) ? 'tried' : 'untried');
  const others: Way[] = [...signatures.keys()]
    .filter((way) => way !== usual)
    .map((way) => ({ way, role: roleOf(way) }));
  const bare = caps.subgroupSize ? placeOf(graph, withoutSubgroups(caps))?.usual : undefined;
  if (bare && ![...signatures.values()].includes(bare)) others.push({ way: WITHOUT, role: 'untried' });
  if (others.length === 0) return [];
  return [{ way: usual, role: 'usual' }, ...others, { way: `${usual} ${AGAIN}`, role: 'usual' }];
}

/** Where the op of a graph chooses, what it dispatches each way, and what usually; undefined beyond the limits. */
function placeOf(graph: Graph, caps: Capabilities) {
  const { nodes } = rewritten(graph, caps, { rewrites });
  const places: ChoicePlace[] = [];
  try {
    const usual = signatureOf(lowerNodes(graph, nodes, caps, { onChoice: (place) => places.push(place) }));
    const place = places.at(0);
    const ways = place && waysOf(graph, { ...place, ways: place.offered }, caps);
    const signatures = ways && [...ways].map(([way, dispatches]) => [way, signatureOf(dispatches)] as const);
    return { place, usual, signatures: new Map(signatures ?? [[ONLY, usual]]) };
  } catch (error) {
    if (error instanceof LimitError) return undefined;
    throw error;
  }
}

/** One case for each way, compared with the first. */
export function shapeCases(shape: Shape, dtype: 'f32' | 'f16', ways: readonly Way[]): BenchCase[] {
  const { peerWork: _, ...plain } = kernelCase(shape, dtype);
  const of = plain.name;
  const works = new WeakMap<Device, ProgramWork>();
  const isSlow = (way: string) => shape.problem.op === 'attention' && FOR_CARDS.test(way);
  const beside = ways.findIndex(({ way }, i) => i > 0 && !isSlow(way));
  let first: Float32Array | undefined;
  return ways.map(({ way, role }, i): BenchCase => {
    const name = `${of} ${way}`;
    const isBare = way === WITHOUT;
    const open = (device: Device) => {
      if (!works.has(device)) works.set(device, problemWork(shape.problem, dtype, device, of));
      const work = works.get(device)!;
      const chosen = role === 'usual' ? ways[0].way : way;
      return new ProgramSubject(device, {
        ...work,
        sharesWeights: true,
        choices: { get: () => (isBare ? undefined : chosen) },
        async verify(program) {
          const error = await work.verify(program);
          const out = await program.read('out');
          if (i === 0) first = out;
          if (!first) throw new MismatchError(`bench: expected a right result of ${of} computed as usual, got none`);
          const difference = verifyNorm(out, first, TOLERANCE[dtype], name);
          // As large as the result, and not needed any more.
          if (i === ways.length - 1) first = undefined;
          return Math.max(error, difference);
        },
      });
    };
    return {
      ...plain,
      ...{ suite: 'candidates', name, group: `${of} ${dtype}`, candidate: { of, way, role } },
      ...(i > 0 && { against: `${of} ${ways[0].way}` }),
      ...(isBare && { without: SUBGROUPS }),
      sharedDevice: isBare ? WITHOUT : 'all ways',
      usual: true,
      slow: isSlow(way),
      quick: plain.quick && (i === 0 || i === beside),
      open: async (device) => open(device),
    };
  });
}
