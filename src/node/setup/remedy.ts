import type { Component } from './recipes.ts';
import type { System } from './system.ts';

const BACKPORTS =
  "echo 'deb http://deb.debian.org/debian bookworm-backports main' | sudo tee /etc/apt/sources.list.d/backports.list " +
  '&& sudo apt-get update && sudo apt-get install -y -t bookworm-backports mesa-vulkan-drivers libvulkan1';

const VULKAN: Record<string, string> = {
  debian: 'sudo apt-get install -y mesa-vulkan-drivers libvulkan1',
  ubuntu: 'sudo apt-get install -y mesa-vulkan-drivers libvulkan1',
  fedora: 'sudo dnf install -y mesa-vulkan-drivers vulkan-loader',
  arch: 'sudo pacman -S --needed vulkan-swrast vulkan-icd-loader',
  opensuse: 'sudo zypper install -y Mesa-libVulkan libvulkan_lvp libvulkan1',
};

/** Works without root on every system that puppeteer knows; Chrome's folder holds SwiftShader too. */
const PUPPETEER = 'npx puppeteer browsers install chrome';

/** The one command that puts a component in place without us fetching it. */
export function remedy(component: Component, system: System): string {
  if (component === 'loader') {
    if (system.id === 'debian' || system.id === 'ubuntu') return 'sudo apt-get install -y libvulkan1 libxext6';
    return "install the Vulkan loader (libvulkan.so.1) with the system's package manager";
  }
  if (component === 'lavapipe') {
    if (system.platform !== 'linux')
      return 'update the graphics driver: WebGPU runs on it without a software adapter here';
    if (system.id === 'debian' && system.codename === 'bookworm') return BACKPORTS;
    const family = Object.keys(VULKAN).find((name) => system.id.startsWith(name));
    return family ? VULKAN[family] : "install Mesa's lavapipe (version 24 or later) and the Vulkan loader";
  }
  if (system.id === 'debian') return 'sudo apt-get install -y chromium';
  return PUPPETEER;
}
