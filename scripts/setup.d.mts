export const root: string;
export function checkNode(version?: string): string | undefined;
export function packagesAreCurrent(folder?: string): boolean;
export function buildIsCurrent(folder?: string): boolean;
export function setup(): void;
