/** What to tell someone whose browser cannot run the page. */
export interface Advice {
  title: string;
  text: string;
  steps: string[];
}

const BROWSERS = [
  'Chrome or Edge 113 and newer, on Windows, macOS, ChromeOS and Android',
  'Safari 26 and newer, on macOS, iOS and iPadOS',
  'Firefox 141 and newer, on Windows; 145 and newer on Macs with Apple silicon',
  'Chrome on Linux: start it with --enable-unsafe-webgpu --enable-features=Vulkan',
];

/** Why this page cannot compute here, or undefined when it can. */
export async function findObstacle(): Promise<Advice | undefined> {
  if (!isSecureContext) {
    return {
      title: 'This address is not secure',
      text: 'Browsers offer WebGPU to secure pages only.',
      steps: ['Open this page over https, or on this machine as http://localhost.'],
    };
  }
  if (!navigator.gpu) {
    return {
      title: 'This browser has no WebGPU',
      text: 'The pictures are computed on the graphics processor, through WebGPU. These browsers have it:',
      steps: BROWSERS,
    };
  }
  if (!(await navigator.gpu.requestAdapter().catch(() => null))) {
    return {
      title: 'WebGPU is here, but no graphics adapter',
      text: 'The browser found no graphics processor that it would use.',
      steps: [
        'Switch hardware acceleration on in the browser’s settings, and restart it.',
        'Update the graphics driver.',
        'In Chrome and Edge, chrome://gpu says what is blocked and why.',
        'On Linux, start Chrome with --enable-unsafe-webgpu --enable-features=Vulkan.',
      ],
    };
  }
  return undefined;
}
