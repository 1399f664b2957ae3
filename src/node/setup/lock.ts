import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';

/** A holder renews its lock every few seconds; one silent for this long (a killed process on another host) is gone. */
const SILENT_MS = 60_000;
const RENEW_MS = 5_000;
const POLL_MS = 300;

interface Owner {
  pid: number;
  host: string;
  token: string;
}

async function readOwner(lock: string): Promise<Owner | undefined> {
  try {
    return JSON.parse(await readFile(join(lock, 'owner.json'), 'utf8')) as Owner;
  } catch {
    return undefined; // being made or being removed at this moment
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function isAbandoned(lock: string, owner: Owner | undefined): Promise<boolean> {
  if (owner && owner.host === hostname() && !isAlive(owner.pid)) return true;
  const age = await stat(lock).then(
    (s) => Date.now() - s.mtimeMs,
    () => 0,
  );
  return age > SILENT_MS;
}

/** Takes an abandoned lock away by renaming it; puts it back if another process had renewed it meanwhile. */
async function breakLock(lock: string, seen: Owner | undefined, token: string): Promise<void> {
  const aside = `${lock}-${token}`;
  try {
    await rename(lock, aside);
  } catch {
    return; // another process was first
  }
  if ((await readOwner(aside))?.token !== seen?.token) {
    await rename(aside, lock).catch(() => undefined);
    return;
  }
  await rm(aside, { recursive: true, force: true });
}

/**
 * Runs `work` while this process alone holds the lock folder; waits for another holder, takes over from a dead one.
 * @param onWait called once when another process holds the lock.
 */
export async function withLock<T>(lock: string, work: () => Promise<T>, onWait?: (pid: number) => void): Promise<T> {
  const token = `${process.pid}-${Math.random().toString(36).slice(2)}`;
  await mkdir(dirname(lock), { recursive: true });
  let told = false;
  for (;;) {
    try {
      await mkdir(lock);
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = await readOwner(lock);
    if (await isAbandoned(lock, owner)) {
      await breakLock(lock, owner, token);
      continue;
    }
    if (!told && owner) onWait?.(owner.pid);
    told ||= owner !== undefined;
    await new Promise((r) => setTimeout(r, POLL_MS));
  }
  await writeFile(join(lock, 'owner.json'), JSON.stringify({ pid: process.pid, host: hostname(), token }));
  const renew = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => undefined);
  }, RENEW_MS);
  renew.unref();
  try {
    return await work();
  } finally {
    clearInterval(renew);
    if ((await readOwner(lock))?.token === token) await rm(lock, { recursive: true, force: true });
  }
}
