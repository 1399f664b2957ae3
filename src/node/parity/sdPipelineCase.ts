/** Parity of `StableDiffusionPipeline`, with and without a ControlNet. */
import { Pipeline } from '../../pipelines/index.ts';
import type { PipelineCase, PipelineOutputs } from './pipelineCase.ts';

/** Latents after every step, the decoded planes, and the pictures. */
export async function runStableDiffusionPipeline(c: PipelineCase): Promise<PipelineOutputs> {
  const { device, folder, dtype, entry, io } = c;
  const pipe = await Pipeline.fromPretrained(folder, { device, dtype });
  try {
    const latents: number[] = [];
    const noise = await io.tensor('in.noise');
    const [, , height, width] = (await io.tensor('out.image')).shape;
    const { images } = await pipe({
      promptEmbeds: await io.tensor('in.prompt_embeds'),
      negativePromptEmbeds: await io.tensor('in.negative_prompt_embeds'),
      numInferenceSteps: entry.num_inference_steps,
      guidanceScale: entry.guidance_scale,
      guidanceRescale: entry.guidance_rescale,
      controlImage: io.has('in.control_image') ? await io.tensor('in.control_image') : undefined,
      controlnetConditioningScale: entry.controlnet_conditioning_scale,
      latents: noise.data,
      height,
      width,
      onStep: async ({ state }) => void latents.push(...(await state()).x),
    });
    const decoded: number[] = [];
    const image: number[] = [];
    for (const picture of images) {
      decoded.push(...(await picture.toPlanes()));
      image.push(...(await picture.toTensor()));
      picture.dispose();
    }
    return { latents, decoded, image };
  } finally {
    await pipe.dispose();
  }
}
