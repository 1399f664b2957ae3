/** The pictures of a report, as Vega-Lite specifications: ratios, the roof, growth. */
import type { TopLevelSpec } from 'vega-lite';
import { COLOURS } from '../../scripts/plots/draw.ts';
import type { BenchReport } from '../result.ts';
import { curvesOf, type Curve } from '../scaling/growth.ts';

/** How many times as long as we a peer takes, case by case, on a logarithmic axis; a line at level. */
export function ratioPlot({ results }: BenchReport, suite: string): TopLevelSpec | undefined {
  const values = results
    .filter((r) => r.suite === suite)
    .flatMap((r) =>
      r.peers
        .filter((p) => p.maxError <= 1)
        .map((p) => ({ case: `${r.name} ${r.dtype}`, peer: `${p.name} ${p.version}`, ratio: p.ratio })),
    );
  if (values.length === 0) return undefined;
  const cases = [...new Set(values.map((v) => v.case))];
  return {
    title: `Time of other runtimes over ours: ${suite}`,
    width: 520,
    height: { step: 18 },
    layer: [
      {
        data: { values },
        mark: { type: 'point', filled: true, size: 60, opacity: 0.9 },
        encoding: {
          y: { field: 'case', type: 'nominal', sort: cases, title: null, axis: { labelLimit: 320, grid: true } },
          x: {
            field: 'ratio',
            type: 'quantitative',
            scale: { type: 'log' },
            title: 'ratio; right of the line we are faster',
          },
          color: { field: 'peer', type: 'nominal', title: null },
          shape: { field: 'peer', type: 'nominal', title: null },
        },
      },
      {
        data: { values: [{ level: 1 }] },
        mark: { type: 'rule', strokeWidth: 1.5 },
        encoding: { x: { field: 'level', type: 'quantitative' } },
      },
    ],
  };
}

/** Rate against arithmetic intensity, under the roof that the adapter was measured to set. */
export function roofPlot({ results, roofline }: BenchReport): TopLevelSpec | undefined {
  if (!roofline) return undefined;
  const { fmaGflops, copyGbps } = roofline;
  const values = results
    .filter((r) => r.suite === 'kernels' && r.gflops !== null && r.gbps)
    .map((r) => ({ kind: r.name.split('/')[0], intensity: r.gflops! / r.gbps!, rate: r.gflops! }));
  if (values.length === 0) return undefined;
  const xs = values.map((v) => v.intensity);
  const ridge = fmaGflops / copyGbps;
  const roof = [Math.min(...xs, ridge) / 2, ridge, Math.max(...xs, ridge) * 2].map((x) => ({
    intensity: x,
    rate: Math.min(fmaGflops, copyGbps * x),
  }));
  return {
    title: `Under the roof: ${fmaGflops.toFixed(0)} GFLOP/s, ${copyGbps.toFixed(1)} GB/s measured`,
    width: 520,
    height: 320,
    encoding: {
      x: {
        field: 'intensity',
        type: 'quantitative',
        scale: { type: 'log' },
        title: 'operations per byte, every operand once',
      },
      y: { field: 'rate', type: 'quantitative', scale: { type: 'log' }, title: 'GFLOP/s' },
    },
    layer: [
      { data: { values: roof }, mark: { type: 'line', color: COLOURS[6] } },
      {
        data: { values },
        mark: { type: 'point', filled: true, size: 60 },
        encoding: { color: { field: 'kind', type: 'nominal', title: null } },
      },
    ],
  };
}

/** The measured points of curves and the lines fitted to them, on logarithmic axes. */
export function growthPlot(report: BenchReport, of: 'time' | 'memory'): TopLevelSpec | undefined {
  const curves = curvesOf(report.results).filter((c) => of === 'time' || c.theory.memory > 0);
  if (curves.length === 0) return undefined;
  const label = (c: Curve) => `${c.curve}, over ${c.axis}: ${exponents(c, of)}`;
  const points = curves.flatMap((c) =>
    c.points.map((p) => ({ curve: label(c), x: p.x, y: of === 'time' ? p.ms : p.activationBytes / 2 ** 20 })),
  );
  const scale = of === 'time' ? 1 : 2 ** 20;
  const lines = curves.flatMap((c) => {
    const fit = c[of];
    const xs = fit ? [c.points[Math.floor((c.points.length - 1) / 2)].x, c.points.at(-1)!.x] : [];
    return xs.map((x) => ({ curve: label(c), x, y: (fit!.factor * x ** fit!.exponent) / scale }));
  });
  return {
    title: of === 'time' ? 'How time grows' : 'How memory between the layers grows',
    width: 520,
    height: 380,
    encoding: {
      x: { field: 'x', type: 'quantitative', scale: { type: 'log', base: 2, nice: false }, title: 'what grows' },
      y: { field: 'y', type: 'quantitative', scale: { type: 'log' }, title: of === 'time' ? 'ms' : 'MiB' },
      color: {
        field: 'curve',
        type: 'nominal',
        title: 'fitted exponent (theory)',
        // 0: labels are not cut, for they end in the exponents.
        legend: { orient: 'bottom', columns: 1, labelLimit: 0, titleLimit: 400 },
      },
    },
    layer: [
      { data: { values: points }, mark: { type: 'point', filled: true, size: 50 } },
      { data: { values: lines }, mark: { type: 'line' } },
    ],
  };
}

/** Fitted and theoretical exponents in words; for time also what the counted arithmetic gives over the same points. */
export function exponents(c: Curve, of: 'time' | 'memory'): string {
  const fit = c[of];
  const counted = of === 'time' && c.arithmetic ? `, counted ${c.arithmetic.exponent.toFixed(2)}` : '';
  return fit ? `${fit.exponent.toFixed(2)} (${c.theory[of]}${counted})` : '–';
}
