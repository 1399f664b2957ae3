/**
 * One after the other, for what several networks do together: what a network wrote lies where its next call writes, so
 * between two networks no other run of the pipeline may call the first.
 */
export class Turns {
  private last: Promise<unknown> = Promise.resolve();

  /** Does the work once all that came before is done, whether it failed or not. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work);
    this.last = turn.catch(() => undefined);
    return turn;
  }
}
