declare module '*.wgsl' {
  const shader: import('./shader.ts').ShaderSource;
  export default shader;
}
