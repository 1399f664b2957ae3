/** Vega-Lite specifications as SVG that is the same on every run: no fonts to load, no clock, no random ids. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

/** Ten colours that differ for eyes without red or green too: Okabe & Ito's, and two more. */
export const COLOURS = [
  '#0072b2',
  '#e69f00',
  '#009e73',
  '#d55e00',
  '#cc79a7',
  '#56b4e9',
  '#000000',
  '#8c6d31',
  '#6a51a3',
  '#999999',
];

const CONFIG = {
  background: 'white',
  font: 'sans-serif',
  aria: false,
  view: { stroke: '#cccccc' },
  axis: { gridColor: '#eeeeee', labelFontSize: 12, titleFontSize: 13, titleFontWeight: 'normal' },
  legend: { labelFontSize: 12, titleFontSize: 12, labelLimit: 400, symbolSize: 80, rowPadding: 1 },
  title: { fontSize: 14, fontWeight: 'bold', anchor: 'start' },
  range: { category: COLOURS },
} as const;

/**
 * The same bytes on every machine and whatever was drawn before: tenths of a pixel, ids counted from 1, and nothing
 * that only scripts would read.
 */
function settled(svg: string): string {
  const ids = new Map<string, string>();
  return svg
    .replace(/="[^"]*"/g, (attribute) =>
      attribute.replace(/-?\d+\.\d{2,}(e-?\d+)?/g, (number) => String(Number(Number(number).toFixed(1)) + 0)),
    )
    .replace(/ (role|aria-\w+|class)="[^"]*"/g, '')
    .replace(/ stroke-width="0" opacity="1"/g, '')
    .replace(/<path d="" display="none"\/>/g, '')
    .replace(/\b(clip|gradient_)(\d+)\b/g, (_, kind: string, id: string) => {
      const key = kind + id;
      if (!ids.has(key)) ids.set(key, `${kind}${ids.size + 1}`);
      return ids.get(key)!;
    });
}

/** Draws a specification into a file. @returns its bytes */
export async function draw(spec: TopLevelSpec, file: string): Promise<number> {
  const { spec: vega } = compile({ ...spec, config: { ...CONFIG, ...spec.config } } as TopLevelSpec);
  const view = new View(parse(vega), { renderer: 'none' });
  const svg = `${settled(await view.toSVG())}\n`;
  view.finalize();
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, svg);
  return svg.length;
}
