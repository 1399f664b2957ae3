/** Element types of safetensors that are read, and their sizes in bytes. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
} as const;

/** An element type by the name that safetensors gives it. */
export type Dtype = keyof typeof DTYPE_BYTES;

/** Types that the format knows and this library does not read: they need scales that live elsewhere, or are complex. */
const FOREIGN: ReadonlySet<string> = new Set([
  'F8_E4M3',
  'F8_E5M2',
  'F8_E8M0',
  'F8_E4M3FNUZ',
  'F8_E5M2FNUZ',
  'F6_E2M3',
  'F6_E3M2',
  'F4',
  'C64',
]);

/** Whether elements of that type are read. */
export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(DTYPE_BYTES, name);
}

/** Whether the format knows the type and this library does not read it. */
export function isForeignDtype(name: string): boolean {
  return FOREIGN.has(name);
}
