/** Names that older checkpoints use for the same weights. */
import type { Rename } from '../loading/index.ts';

const ATTENTION: Readonly<Record<string, string>> = {
  query: 'to_q',
  key: 'to_k',
  value: 'to_v',
  proj_attn: 'to_out.0',
};

/** Attention before diffusers 0.14: `query`, `key`, `value`, `proj_attn` → `to_q`, `to_k`, `to_v`, `to_out.0`. */
export const legacyAttentionKeys: Rename = (key) =>
  key.replace(
    /((?:^|\.)attentions\.\d+\.)(query|key|value|proj_attn)(?=\.(?:weight|bias)$)/,
    (_match, path: string, name: string) => path + ATTENTION[name],
  );
