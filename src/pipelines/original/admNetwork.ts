/** A U-Net of guided-diffusion alone in its folder, as the pipeline that also takes it together with others. */
import type { Device } from '../../engine/index.ts';
import { ADMPipeline } from '../adm/adm.ts';
import type { LoadPipelineOptions } from '../options/loadOptions.ts';
import { originalKind } from './kinds.ts';
import { openOriginal, withoutLabels, type OriginalSource } from './openOriginal.ts';

/** Loads such a folder; what comes of it is an {@link ADMPipeline}. */
export const AdmNetworkPipeline = {
  /**
   * A `UNetModel` makes pictures, a `SuperResModel` enlarges them.
   * @throws as {@link ADMPipeline.fromParts}; nothing is left behind.
   */
  async load(device: Device, source: OriginalSource, options: LoadPipelineOptions = {}): Promise<ADMPipeline> {
    const opened = await openOriginal(source, options);
    try {
      const { labels: id2label, config } = withoutLabels(opened.config);
      const part = { config, checkpoint: opened.checkpoint };
      const enlarges = originalKind(config)?.className === 'SuperResModel';
      const parts = enlarges ? { upsampler: part } : { unet: part };
      return await ADMPipeline.fromParts(device, parts, { ...options, fields: { id2label } });
    } finally {
      await opened.close();
    }
  },
};
