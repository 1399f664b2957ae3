"""VQModel in plain PyTorch with the parameter names, config fields and arithmetic of diffusers 0.31: the autoencoder of
latent diffusion whose latents are entries of a codebook. Trunk shared with models.py.
"""

import torch
from torch import Tensor, nn

from models import VERSION, Decoder, Encoder

CHUNK = 8192  # latents whose distances to every entry are in memory at once


def nearest(x: Tensor, entries: Tensor) -> Tensor:
    """x [N, E], entries [K, E] -> index of the nearest entry for each, [N]; the first of equally near ones."""
    half_norms = 0.5 * entries.pow(2).sum(1)
    return torch.cat([torch.addmm(half_norms, part, entries.T, alpha=-1).argmin(1) for part in x.split(CHUNK)])


def as_rows(z: Tensor) -> Tensor:
    """Latents [B, E, h, w] -> one row per cell [B h w, E]."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


class Quantizer(nn.Module):
    """The codebook. van den Oord et al. 2017, eq. 1 and 2."""

    def __init__(self, entries: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(entries, width)

    @torch.no_grad()
    def indices(self, z: Tensor) -> Tensor:
        """z [B, E, h, w] -> indices of the nearest entries [B, h, w]; distances in f32 also when training in bf16."""
        with torch.autocast(z.device.type, enabled=False):
            flat = nearest(as_rows(z).float(), self.embedding.weight)
        return flat.view(z.shape[0], *z.shape[2:])

    def entries(self, indices: Tensor) -> Tensor:
        """indices [B, h, w] -> their entries [B, E, h, w]."""
        return self.embedding(indices).permute(0, 3, 1, 2)


class VQModel(nn.Module):
    """Autoencoder with a codebook. Esser et al. 2021; Rombach et al. 2022; no scaling factor is applied inside."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        latent = config['latent_channels']
        width = config['vq_embed_dim'] or latent
        self.encoder = Encoder(config, latent)
        self.quant_conv = nn.Conv2d(latent, width, 1)
        self.quantize = Quantizer(config['num_vq_embeddings'], width)
        self.post_quant_conv = nn.Conv2d(width, latent, 1)
        self.decoder = Decoder(config)

    def encode(self, x: Tensor) -> Tensor:
        """x [B, 3, H, W] in [-1, 1] -> latents [B, E, h, w] in f32, not quantised."""
        return self.quant_conv(self.encoder(x)).float()

    def decode(self, zq: Tensor) -> Tensor:
        """Entries zq [B, E, h, w] -> picture [B, 3, H, W], about [-1, 1] but not clamped."""
        return self.decoder(self.post_quant_conv(zq))

    def decode_indices(self, indices: Tensor) -> Tensor:
        """indices [B, h, w] -> picture [B, 3, H, W]."""
        return self.decode(self.quantize.entries(indices))


def vq_config(widths: list[int], **fields: object) -> dict:
    """The whole published config of a VQModel that halves the picture len(widths) - 1 times."""
    return {
        '_class_name': 'VQModel',
        '_diffusers_version': VERSION,
        'act_fn': 'silu',
        'block_out_channels': widths,
        'down_block_types': ['DownEncoderBlock2D'] * len(widths),
        'force_upcast': False,
        'in_channels': 3,
        'latent_channels': 4,
        'layers_per_block': 1,
        'lookup_from_codebook': False,
        'mid_block_add_attention': True,
        'norm_num_groups': 32,
        'norm_type': 'group',
        'num_vq_embeddings': 256,
        'out_channels': 3,
        'sample_size': 64,
        'scaling_factor': 1.0,
        'up_block_types': ['UpDecoderBlock2D'] * len(widths),
        'vq_embed_dim': None,
        **fields,
    }
