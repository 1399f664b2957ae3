/** Peers beside a case: which of a peer's ways of doing the work take turns with ours, and what comes of it. */
import { AbortedError } from '../src/engine/index.ts';
import type { BenchCase, Peer, PeerSubject } from './case.ts';
import { type Effort, type Entrant, medianMs, spreadOf, warmUp } from './entrant.ts';
import type { PeerResult } from './result.ts';

/** A way of doing the work, checked and warm. */
export interface PeerVariant {
  variant: string;
  subject: PeerSubject;
  firstMs: number;
  maxError: number;
  /** A run when it had become warm. */
  warmMs: number;
  entrant: Entrant;
}

export interface OpenedPeer {
  peer: Peer;
  /** Those that take turns. */
  kept: PeerVariant[];
  /** Those that were clearly slower, and have ended. */
  dropped: Pick<PeerVariant, 'variant' | 'warmMs' | 'firstMs'>[];
  dispose(): Promise<void>;
}

/** A way this much slower than the peer's fastest when warm takes no turns: it would only cost time. */
export const CLEARLY_SLOWER = 1.5;

/** A peer that cannot, or errs, is left out of that case with a line: it is not the peer that is on trial. */
export async function openPeers(
  c: BenchCase,
  peers: readonly Peer[],
  effort: Effort,
  { note }: { note?(line: string): void },
): Promise<OpenedPeer[]> {
  if (!c.peerWork) return [];
  const opened: OpenedPeer[] = [];
  for (const peer of peers) {
    const variants: PeerVariant[] = [];
    for (const variant of peer.variants(c.peerWork.work, c.dtype)) {
      try {
        variants.push(await openVariant(c, peer, variant, effort));
      } catch (error) {
        if (error instanceof AbortedError) throw error;
        const why = error instanceof Error ? error.message : String(error);
        note?.(`${c.name} ${c.dtype}: ${peer.name} (${variant}) left out: ${why}`);
      }
    }
    if (variants.length) opened.push(await keepFastest(peer, variants));
  }
  return opened;
}

async function openVariant(c: BenchCase, peer: Peer, variant: string, effort: Effort): Promise<PeerVariant> {
  const { work, check } = c.peerWork!;
  const subject = await peer.open(work, variant, c.dtype);
  try {
    const firstMs = await subject.first();
    const maxError = await check(await subject.output());
    let warmMs = Infinity;
    const time = async (runs: number) => {
      const ms = await subject.run(runs);
      warmMs = Math.min(warmMs, ms / runs);
      return ms;
    };
    const entrant = await warmUp(effort, { time });
    return { variant, subject, firstMs, maxError, warmMs, entrant };
  } catch (error) {
    await subject.dispose();
    throw error;
  }
}

async function keepFastest(peer: Peer, variants: readonly PeerVariant[]): Promise<OpenedPeer> {
  // A wrong result may be fast for being wrong.
  const right = variants.filter((v) => v.maxError <= 1);
  const candidates = right.length ? right : variants;
  const best = Math.min(...candidates.map((v) => v.warmMs));
  const kept = candidates.filter((v) => v.warmMs <= CLEARLY_SLOWER * best);
  const dropped = variants.filter((v) => !kept.includes(v));
  for (const { subject } of dropped) await subject.dispose();
  return {
    peer,
    kept,
    dropped,
    async dispose() {
      for (const { subject } of kept) await subject.dispose();
    },
  };
}

/** The fastest way of each peer over our time: that with each run awaited where the peer waits. */
export function peerResults(
  opened: readonly OpenedPeer[],
  ours: { ms: number; awaitedMs: number | null },
): PeerResult[] {
  return opened.map(({ peer, kept, dropped }) => {
    const [best, ...others] = [...kept].sort((a, b) => medianMs(a.entrant) - medianMs(b.entrant));
    const { version, settings, pipelined } = best.subject;
    const ms = medianMs(best.entrant);
    return {
      name: peer.name,
      version,
      variant: best.variant,
      settings,
      native: peer.native ?? false,
      ms,
      spread: spreadOf(best.entrant),
      firstMs: best.firstMs,
      ratio: ms / (pipelined ? ours.ms : (ours.awaitedMs ?? ours.ms)),
      maxError: best.maxError,
      others: [
        ...others.map(({ variant, firstMs, entrant }) => ({ variant, ms: medianMs(entrant), firstMs })),
        ...dropped.map(({ variant, firstMs, warmMs }) => ({ variant, ms: warmMs, firstMs })),
      ],
    };
  });
}
