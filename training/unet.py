"""Trains the class-conditional U-Net on the autoencoder's latents (16x16x4), v-prediction on the cosine
schedule.

usage: python3 unet.py --out DIR [--minutes 80 | --steps N] [--device cpu|cuda]
Needs OUT/vae.pt. Running it again goes on from OUT/unet.pt; --fresh starts over; --warm OLD.pt starts a new schedule
from old weights, as when the autoencoder has moved a little.
"""

from latent_training import NULL, Task, options_of, run
from models import UNet2D, unet_config

CONFIG = unet_config(
    [64, 96, 96],
    [False, True, True],
    layers_per_block=1,
    norm_num_groups=16,
    attention_head_dim=32,
    num_class_embeds=NULL + 1,
)

if __name__ == '__main__':
    run(Task('unet', CONFIG, UNet2D), options_of(minutes=80))
