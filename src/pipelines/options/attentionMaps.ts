/** What users ask of a run's attention, and what they get. */

/** Which maps are wanted. */
export interface AttentionMapOptions {
  /**
   * Words of the prompt, of one token or several, each wherever it stands; or places among its tokens, 0 the start
   * token.
   */
  tokens: readonly (string | number)[];
  /** Look at every n-th evaluation of the network only; default 1. */
  every?: number;
}

/**
 * How much a picture's pixels look at a token: its probability in cross-attention, averaged over heads, layers and
 * steps.
 */
export interface AttentionMap {
  /** Which picture of the result. */
  image: number;
  /** As asked. */
  token: string | number;
  /** Its places in the prompt; of several, the mean is taken. */
  positions: readonly number[];
  /** Pixels of the picture. */
  width: number;
  height: number;
  /** Rows [height, width] of probabilities, 0 … 1. */
  data: Float32Array;
}
