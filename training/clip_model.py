"""CLIPTextModel in plain PyTorch with the parameter names, config fields and arithmetic of transformers. Radford et al.
2021, section 2.4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Embeddings(nn.Module):
    """Ids [B, T] -> token plus position [B, T, D]."""

    def __init__(self, config: dict):
        super().__init__()
        width = config['hidden_size']
        self.token_embedding = nn.Embedding(config['vocab_size'], width)
        self.position_embedding = nn.Embedding(config['max_position_embeddings'], width)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class SelfAttention(nn.Module):
    """Every token looks at itself and at those before it, padding included: [B, T, D]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            f(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # [B, heads, T, d]
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))  # quick_gelu


class Layer(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        width, eps = config['hidden_size'], config['layer_norm_eps']
        self.self_attn = SelfAttention(width, config['num_attention_heads'])
        self.layer_norm1 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, config['intermediate_size'])
        self.layer_norm2 = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config['num_hidden_layers']))


class TextTransformer(nn.Module):
    def __init__(self, config: dict):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config['hidden_size'], config['layer_norm_eps'])


class CLIPText(nn.Module):
    """Ids [B, T] -> states [B, T, D] behind the last norm, and that at the first end token [B, D]."""

    def __init__(self, config: dict):
        super().__init__()
        self.config = config
        self.text_model = TextTransformer(config)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        model, end = self.text_model, self.config['eos_token_id']
        x = model.embeddings(ids)
        for layer in model.encoder.layers:
            x = layer(x)
        x = model.final_layer_norm(x)
        # Files of a certain age say 2 and mean the largest id.
        at = ids.argmax(dim=1) if end == 2 else (ids == end).int().argmax(dim=1)
        return x, x[torch.arange(len(x), device=x.device), at]


def clip_text_config(width: int, layers: int, heads: int, hidden: int, **fields: object) -> dict:
    """The whole published config of a CLIPTextModel; `fields` says vocab_size, max_position_embeddings and tokens."""
    return {
        'architectures': ['CLIPTextModel'],
        'attention_dropout': 0.0,
        'dropout': 0.0,
        'hidden_act': 'quick_gelu',
        'hidden_size': width,
        'initializer_factor': 1.0,
        'initializer_range': 0.02,
        'intermediate_size': hidden,
        'layer_norm_eps': 1e-5,
        'model_type': 'clip_text_model',
        'num_attention_heads': heads,
        'num_hidden_layers': layers,
        'projection_dim': width,
        'torch_dtype': 'float16',
        'transformers_version': '4.46.0',
        **fields,
    }
