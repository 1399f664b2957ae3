/** What test/support/gpu.ts is in Node: here the page's own WebGPU, which is SwiftShader in the test browser. */
export const adapters = (): string[] => ['swiftshader'];
export const isFullRun = false;
export const getGpu = async (): Promise<GPU> => navigator.gpu;
