/** Parity of `DiTPipeline`. */
import { Pipeline } from '../../pipelines/index.ts';
import type { PipelineCase, PipelineOutputs } from './pipelineCase.ts';
import { RecordedDraws } from './recordedDraws.ts';

/** Latents of the conditional half after every step, and the pictures. */
export async function runDiTPipeline({ device, folder, dtype, entry, io }: PipelineCase): Promise<PipelineOutputs> {
  const pipe = await Pipeline.fromPretrained(folder, { device, dtype });
  try {
    const latents: number[] = [];
    const [, , height, width] = (await io.tensor('out.image')).shape;
    const { images } = await pipe({
      classLabels: await io.numbers('in.class_labels'),
      numInferenceSteps: entry.num_inference_steps,
      guidanceScale: entry.guidance_scale,
      generator: await RecordedDraws.open(io),
      height,
      width,
      onStep: async ({ state }) => void latents.push(...(await state()).x),
    });
    const image: number[] = [];
    for (const picture of images) {
      image.push(...(await picture.toTensor()));
      picture.dispose();
    }
    return { latents, image };
  } finally {
    await pipe.dispose();
  }
}
