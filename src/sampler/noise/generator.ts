/** What draws noise on the host. */

/** A generator of standard normals that can be stopped and set going again; `State` is plain JSON. */
export interface NormalGenerator<State = unknown> {
  /** n standard normals, f32. */
  randn(n: number): Float32Array;
  /** Where it stands; set it to go on from there. */
  state: State;
}
