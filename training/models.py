"""UNet2DModel and AutoencoderKL in plain PyTorch, with the parameter names, config fields and arithmetic of
diffusers 0.31, so that what is trained here is read by anything that reads published checkpoints."""

import torch
from torch import Tensor, nn

from layers import (
    Attention,
    Downsample,
    GroupNorm,
    MidBlock,
    ResnetBlock,
    TimestepEmbedding,
    Upsample,
    timestep_embedding,
)

VERSION = '0.31.0'


class Block(nn.Module):
    """One level: residual blocks, attention after each where asked for, then a change of resolution."""

    def __init__(
        self,
        widths: list[tuple[int, int]],
        groups: int,
        eps: float,
        temb: int | None = None,
        head_dim: int | None = None,
        down: int | None = None,
        up: bool = False,
    ):
        super().__init__()
        cout = widths[-1][1]
        self.resnets = nn.ModuleList(ResnetBlock(i, o, groups, eps, temb) for i, o in widths)
        if head_dim is not None:
            self.attentions = nn.ModuleList(Attention(cout, head_dim, groups, eps) for _ in widths)
        if down is not None:
            self.downsamplers = nn.ModuleList([Downsample(cout, down)])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(cout)])

    def layer(self, j: int, x: Tensor, temb: Tensor | None) -> Tensor:
        x = self.resnets[j](x, temb)
        return self.attentions[j](x) if hasattr(self, 'attentions') else x

    def resize(self, x: Tensor) -> Tensor | None:
        for name in ('downsamplers', 'upsamplers'):
            if hasattr(self, name):
                return getattr(self, name)[0](x)
        return None


class UNet2D(nn.Module):
    """Noise predictor. x [B, Cin, H, W], timestep [] or [B], labels [B] -> [B, Cout, H, W]. Ho et al.
    2020.
    """

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        widths, groups, eps = config['block_out_channels'], config['norm_num_groups'], config['norm_eps']
        per_level, head_dim, temb = config['layers_per_block'], config['attention_head_dim'], widths[0] * 4
        self.conv_in = nn.Conv2d(config['in_channels'], widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], temb)
        if config['num_class_embeds'] is not None:
            self.class_embedding = nn.Embedding(config['num_class_embeds'], temb)

        last, skips, previous = len(widths) - 1, [widths[0]], widths[0]
        self.down_blocks = nn.ModuleList()
        for i, (kind, width) in enumerate(zip(config['down_block_types'], widths)):
            layers = [(previous if j == 0 else width, width) for j in range(per_level)]
            skips += [width] * (per_level + (i < last))
            self.down_blocks.append(
                Block(
                    layers,
                    groups,
                    eps,
                    temb,
                    (head_dim or width) if kind.startswith('Attn') else None,
                    config['downsample_padding'] if i < last else None,
                )
            )
            previous = width
        self.mid_block = MidBlock(
            widths[-1], head_dim or widths[-1], groups, eps, temb, config['add_attention']
        )
        self.up_blocks = nn.ModuleList()
        for i, (kind, width) in enumerate(zip(config['up_block_types'], widths[::-1])):
            layers = []
            for _ in range(per_level + 1):
                layers.append((previous + skips.pop(), width))
                previous = width
            self.up_blocks.append(
                Block(
                    layers,
                    groups,
                    eps,
                    temb,
                    (head_dim or width) if kind.startswith('Attn') else None,
                    up=i < last,
                )
            )
        self.conv_norm_out = GroupNorm(groups, widths[0], eps)
        self.conv_out = nn.Conv2d(widths[0], config['out_channels'], 3, padding=1)

    def forward(self, x: Tensor, timestep: Tensor, labels: Tensor | None = None) -> Tensor:
        config = self.config
        if config['center_input_sample']:
            x = 2 * x - 1
        table = timestep_embedding(
            timestep.expand(x.shape[0]),
            config['block_out_channels'][0],
            config['flip_sin_to_cos'],
            config['freq_shift'],
        )
        temb = self.time_embedding(table)  # [B, 4 width0]
        if labels is not None:
            temb = temb + self.class_embedding(labels)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            for j in range(len(block.resnets)):
                x = block.layer(j, x, temb)
                skips.append(x)
            smaller = block.resize(x)
            if smaller is not None:
                x = smaller
                skips.append(x)
        x = self.mid_block(x, temb)
        for block in self.up_blocks:
            for j in range(len(block.resnets)):
                x = block.layer(j, torch.cat([x, skips.pop()], dim=1), temb)
            larger = block.resize(x)
            x = x if larger is None else larger
        return self.conv_out(self.conv_norm_out(x, silu=True))


class Encoder(nn.Module):
    """Pictures [B, 3, H, W] -> what quant_conv takes, [B, out, H/f, W/f]: moments, or latents to be quantised."""

    def __init__(self, config: dict, out: int):
        super().__init__()
        widths, groups, eps = config['block_out_channels'], config['norm_num_groups'], 1e-6
        self.conv_in = nn.Conv2d(config['in_channels'], widths[0], 3, padding=1)
        self.down_blocks, previous = nn.ModuleList(), widths[0]
        for i, width in enumerate(widths):
            layers = [(previous if j == 0 else width, width) for j in range(config['layers_per_block'])]
            self.down_blocks.append(Block(layers, groups, eps, down=0 if i < len(widths) - 1 else None))
            previous = width
        self.mid_block = MidBlock(previous, previous, groups, eps, None, config['mid_block_add_attention'])
        self.conv_norm_out = GroupNorm(groups, previous, eps)
        self.conv_out = nn.Conv2d(previous, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            for j in range(len(block.resnets)):
                x = block.layer(j, x, None)
            smaller = block.resize(x)
            x = x if smaller is None else smaller
        return self.conv_out(self.conv_norm_out(self.mid_block(x), silu=True))


class Decoder(nn.Module):
    """Latents after post_quant_conv [B, latent, h, w] -> pictures [B, 3, f h, f w]."""

    def __init__(self, config: dict):
        super().__init__()
        widths, groups, eps = config['block_out_channels'][::-1], config['norm_num_groups'], 1e-6
        self.conv_in = nn.Conv2d(config['latent_channels'], widths[0], 3, padding=1)
        self.mid_block = MidBlock(widths[0], widths[0], groups, eps, None, config['mid_block_add_attention'])
        self.up_blocks, previous = nn.ModuleList(), widths[0]
        for i, width in enumerate(widths):
            layers = [(previous if j == 0 else width, width) for j in range(config['layers_per_block'] + 1)]
            self.up_blocks.append(Block(layers, groups, eps, up=i < len(widths) - 1))
            previous = width
        self.conv_norm_out = GroupNorm(groups, previous, eps)
        self.conv_out = nn.Conv2d(previous, config['out_channels'], 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            for j in range(len(block.resnets)):
                x = block.layer(j, x, None)
            larger = block.resize(x)
            x = x if larger is None else larger
        return self.conv_out(self.conv_norm_out(x, silu=True))


class AutoencoderKL(nn.Module):
    """KL-regularised autoencoder of latent diffusion. Rombach et al. 2022; no scaling factor is applied
    inside.
    """

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        latent = config['latent_channels']
        self.encoder = Encoder(config, 2 * latent)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, 3, H, W] in [-1, 1] -> mean and log variance, each [B, latent, h, w]."""
        mean, logvar = self.quant_conv(self.encoder(x)).float().chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def decode(self, z: Tensor) -> Tensor:
        """z [B, latent, h, w] -> picture [B, 3, H, W], about [-1, 1] but not clamped."""
        return self.decoder(self.post_quant_conv(z))


def unet_config(widths: list[int], attention: list[bool], **fields: object) -> dict:
    """The whole published config of a UNet2DModel whose level i has self-attention where attention[i]."""
    return {
        '_class_name': 'UNet2DModel',
        '_diffusers_version': VERSION,
        'act_fn': 'silu',
        'add_attention': True,
        'attention_head_dim': 32,
        'attn_norm_num_groups': None,
        'block_out_channels': widths,
        'center_input_sample': False,
        'class_embed_type': None,
        'down_block_types': ['AttnDownBlock2D' if a else 'DownBlock2D' for a in attention],
        'downsample_padding': 1,
        'downsample_type': 'conv',
        'dropout': 0.0,
        'flip_sin_to_cos': True,
        'freq_shift': 0,
        'in_channels': 4,
        'layers_per_block': 2,
        'mid_block_scale_factor': 1,
        'norm_eps': 1e-5,
        'norm_num_groups': 32,
        'num_class_embeds': None,
        'num_train_timesteps': None,
        'out_channels': 4,
        'resnet_time_scale_shift': 'default',
        'sample_size': 16,
        'time_embedding_type': 'positional',
        'up_block_types': ['AttnUpBlock2D' if a else 'UpBlock2D' for a in attention[::-1]],
        'upsample_type': 'conv',
        **fields,
    }


def vae_config(widths: list[int], **fields: object) -> dict:
    """The whole published config of an AutoencoderKL that halves the picture len(widths) - 1 times."""
    return {
        '_class_name': 'AutoencoderKL',
        '_diffusers_version': VERSION,
        'act_fn': 'silu',
        'block_out_channels': widths,
        'down_block_types': ['DownEncoderBlock2D'] * len(widths),
        'force_upcast': True,
        'in_channels': 3,
        'latent_channels': 4,
        'latents_mean': None,
        'latents_std': None,
        'layers_per_block': 1,
        'mid_block_add_attention': True,
        'norm_num_groups': 32,
        'out_channels': 3,
        'sample_size': 64,
        'scaling_factor': 1.0,
        'shift_factor': None,
        'up_block_types': ['UpDecoderBlock2D'] * len(widths),
        'use_post_quant_conv': True,
        'use_quant_conv': True,
        **fields,
    }


def parameters_of(model: nn.Module) -> int:
    """Number of weights."""
    return sum(p.numel() for p in model.parameters())
