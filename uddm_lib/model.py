"""The diffusion transformer (paper table 1) as a transformers model.

The architecture is the DiT of the Diffusion Duality code: rotary attention, bias-free LayerNorm, blocks
modulated by an embedding of the noise level (adaLN, zero at the start), untied input and output embeddings.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

__all__ = ["SIZES", "UDDM", "UDDMConfig", "UDDMOutput"]

_SHAPE = ("hidden_size", "cond_dim", "n_blocks", "n_heads")
SIZES = {
    name: dict(zip(_SHAPE, shape))
    for name, shape in {
        "pico": (32, 32, 2, 2),  # the first four are ours, for CPU profiles
        "nano": (64, 64, 2, 4),
        "micro": (96, 64, 3, 4),
        "mini": (128, 64, 4, 4),
        "tiny": (256, 128, 8, 8),  # these three are the paper's (table 1)
        "small": (768, 128, 12, 12),
        "medium": (1024, 128, 24, 16),
    }.items()
}


class UDDMConfig(PreTrainedConfig):
    """Shape of a :class:`UDDM`.

    Args:
        vocab_size: V, at least 2.
        length: L, tokens a sequence.
        hidden_size: width of the residual stream, a multiple of ``2 * n_heads``.
        cond_dim: width of the embedding of the noise level.
        n_blocks, n_heads: transformer blocks, attention heads.
        dropout: rate in [0, 1).
        mlp_ratio: hidden width of the MLP over ``hidden_size``.
        frequency_embedding_size: sinusoidal features of the noise level, even.
        adaln_zero: start every block as the identity (the paper's choice). Without it short runs learn much faster.

    Raises:
        ValueError: if a value is not a positive integer, or widths don't fit together.
    """

    model_type = "uddm"

    def __init__(
        self,
        vocab_size=32,
        length=16,
        hidden_size=64,
        cond_dim=64,
        n_blocks=2,
        n_heads=4,
        dropout=0.1,
        mlp_ratio=4,
        frequency_embedding_size=256,
        adaln_zero=True,
        **kwargs,
    ):
        self.vocab_size, self.length = vocab_size, length
        self.hidden_size, self.cond_dim = hidden_size, cond_dim
        self.n_blocks, self.n_heads = n_blocks, n_heads
        self.dropout, self.mlp_ratio = dropout, mlp_ratio
        self.frequency_embedding_size, self.adaln_zero = frequency_embedding_size, adaln_zero
        for name in (*_SHAPE, "vocab_size", "length", "mlp_ratio", "frequency_embedding_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} is not a positive integer")
        if vocab_size < 2:
            raise ValueError(f"vocab_size={vocab_size} is below 2")
        if hidden_size % (2 * n_heads):
            raise ValueError(
                f"hidden_size={hidden_size} is not a multiple of 2 x n_heads={n_heads}"
            )
        if frequency_embedding_size % 2:
            raise ValueError(f"frequency_embedding_size={frequency_embedding_size} is odd")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} is outside [0, 1)")
        super().__init__(**kwargs)

    @property
    def forward_flops(self):
        """Floating-point operations per token of a forward pass's matrix products; training takes three times as many.

        As model FLOPs utilization counts them (Chowdhery et al. 2022, appendix B): linear layers and attention over
        ``length`` tokens. What is computed once a sequence, the modulations, is left out.
        """
        block = (4 + 2 * self.mlp_ratio) * self.hidden_size**2 + 2 * self.length * self.hidden_size
        return 2 * (self.n_blocks * block + self.hidden_size * self.vocab_size)

    @classmethod
    def named(cls, size, vocab_size, length, **changes):
        """Configuration of a named size: tiny, small, medium (paper table 1) or a smaller one for CPUs.

        Raises:
            ValueError: if the name is unknown; the message lists the known ones.
        """
        if size not in SIZES:
            raise ValueError(f"size={size!r} is unknown; allowed are {', '.join(SIZES)}")
        return cls(vocab_size=vocab_size, length=length, **(SIZES[size] | changes))


@dataclass
class UDDMOutput(ModelOutput):
    """Output of :class:`UDDM`: ``logits`` of the clean tokens, float32, shape (B, L, V)."""

    logits: torch.Tensor | None = None


class UDDM(PreTrainedModel):
    """Denoiser: noisy tokens and noise level in, logits of the clean tokens out (paper eq. (5)).

    It is the (z_t, sigma_t) -> logits map that sampling and probes expect of every denoiser.
    """

    config_class = UDDMConfig
    main_input_name = "input_ids"

    def __init__(self, config):
        super().__init__(config)
        self.vocab_embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.sigma_map = _NoiseEmbedding(config)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.n_blocks))
        self.norm = _LayerNorm(config.hidden_size)
        self.modulation = _linear(config.cond_dim, 2 * config.hidden_size, zero=config.adaln_zero)
        self.head = _linear(config.hidden_size, config.vocab_size, zero=True)
        self.post_init()

    @property
    def vocab_size(self):
        return self.config.vocab_size

    @property
    def length(self):
        return self.config.length

    @torch.no_grad()
    def _init_weights(self, module):
        # transformers calls this for every module that a checkpoint does not fill. The head starts at zero
        # (uniform predictions), and so do the modulations unless the configuration says otherwise.
        if isinstance(module, nn.Linear):
            if getattr(module, "starts_at_zero", False):
                nn.init.zeros_(module.weight)
                nn.init.zeros_(module.bias)
            else:
                module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, _LayerNorm):
            nn.init.ones_(module.weight)

    def hidden(self, z_t, sigma, mixture=None):
        """Last hidden states, which :attr:`head` turns into logits.

        Args:
            z_t: noisy tokens, shape (B, l) with l <= length.
            sigma: noise level -log alpha_t, a number or shape (B,) or (B, 1).
            mixture: tokens and their weights, each of shape (B, l, K), whose weighted embeddings replace those
                of ``z_t`` (the soft input of a Gaussian curriculum, paper appendix B).

        Returns:
            Hidden states of shape (B, l, D).

        Raises:
            ValueError: if the sequences are longer than the model's ``length``.
        """
        if z_t.shape[-1] > self.config.length:
            raise ValueError(
                f"sequences of {z_t.shape[-1]} tokens do not fit a model of length {self.config.length}"
            )
        sigma = torch.as_tensor(sigma, device=z_t.device).reshape(-1).expand(z_t.shape[0])
        h = self.vocab_embed(z_t) if mixture is None else self._mix(*mixture)
        condition = F.silu(self.sigma_map(sigma.to(h.dtype)))
        rotary = _rotary(z_t.shape[-1], self.config.hidden_size // self.config.n_heads, h)
        for block in self.blocks:
            h = block(h, condition, rotary)
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return _modulate(self.norm(h), shift, scale)

    def _mix(self, tokens, weights):
        many = tokens.shape[-1]
        mixed = F.embedding_bag(
            tokens.reshape(-1, many),
            self.vocab_embed.weight,
            mode="sum",
            per_sample_weights=weights.reshape(-1, many).to(self.vocab_embed.weight.dtype),
        )
        return mixed.view(*tokens.shape[:-1], -1)

    def forward(self, input_ids, sigma, mixture=None, **_):
        """Logits of the clean tokens at noise level sigma = -log alpha_t; see :meth:`hidden` for the arguments."""
        h = self.hidden(input_ids, sigma, mixture)
        # Entropies of 1e-2 nats and log-likelihoods are read off these logits: bfloat16 would blur them.
        with torch.autocast(h.device.type, enabled=False):
            logits = F.linear(h.float(), self.head.weight.float(), self.head.bias.float())
        return UDDMOutput(logits=logits)

    def denoise(self, z_t, sigma):
        """Logits of the clean tokens, shape (B, L, V): the interface that every denoiser shares."""
        return self(z_t, sigma).logits


class _LayerNorm(nn.Module):
    """LayerNorm without bias, in float32."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, h):
        # Autocast leaves a float32 layer_norm alone; to switch it off here would keep torch.compile from caching.
        return F.layer_norm(h.float(), self.weight.shape, self.weight.float()).to(h.dtype)


class _NoiseEmbedding(nn.Module):
    """Embedding of sigma: sinusoids of geometric frequencies, then a small MLP."""

    def __init__(self, config):
        super().__init__()
        self.features = config.frequency_embedding_size
        self.mlp = nn.Sequential(
            nn.Linear(self.features, config.cond_dim),
            nn.SiLU(),
            nn.Linear(config.cond_dim, config.cond_dim),
        )

    def forward(self, sigma):
        half = self.features // 2
        steps = torch.arange(half, device=sigma.device, dtype=torch.float32)
        angles = sigma[:, None].float() * torch.exp(-math.log(10_000) / half * steps)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1).to(sigma.dtype))


class _Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the noise level (adaLN)."""

    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.n_heads, self.dropout = config.n_heads, config.dropout
        self.norm1, self.norm2 = _LayerNorm(width), _LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_ratio * width),
            nn.GELU(approximate="tanh"),
            nn.Linear(config.mlp_ratio * width, width),
        )
        self.modulation = _linear(config.cond_dim, 6 * width, zero=config.adaln_zero)

    def forward(self, h, condition, rotary):
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(
            6, dim=-1
        )
        h = h + gate1 * self._drop(
            self.out(self._attend(_modulate(self.norm1(h), shift1, scale1), rotary))
        )
        return h + gate2 * self._drop(self.mlp(_modulate(self.norm2(h), shift2, scale2)))

    def _attend(self, h, rotary):
        batch, length, width = h.shape
        q, k, v = self.qkv(h).view(batch, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        # The scale of the products goes into the small tables that rotate q.
        q, k = _rotate(q, [part * q.shape[-1] ** -0.5 for part in rotary]), _rotate(k, rotary)
        if h.device.type == "cpu":
            # At the short lengths that a CPU trains, plain products beat the fused kernel (bfloat16: backward 5 x).
            attended = (q @ k.transpose(-1, -2)).softmax(-1).to(v.dtype) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, scale=1.0)
        return attended.transpose(1, 2).reshape(batch, length, width)

    def _drop(self, h):
        return F.dropout(h, self.dropout, self.training)


def _linear(inputs, outputs, zero):
    """A linear layer that :meth:`UDDM._init_weights` starts at zero, or not."""
    layer = nn.Linear(inputs, outputs)
    layer.starts_at_zero = zero
    return layer


def _modulate(h, shift, scale):
    return h * (1 + scale) + shift


def _rotary(length, size, like):
    """Cosines and sines of the rotary embedding, each (length, size / 2).

    They are computed at every call: a non-persistent buffer would come back uninitialised from from_pretrained.
    """
    frequencies = 10_000 ** (
        -torch.arange(0, size, 2, device=like.device, dtype=torch.float32) / size
    )
    angles = torch.arange(length, device=like.device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos(), angles.sin()


def _rotate(h, rotary):
    """Rotate pairs (i, i + size / 2) of the last dimension by the angle of their position."""
    cos, sin = (part.to(h.dtype) for part in rotary)
    a, b = h.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


AutoConfig.register(UDDMConfig.model_type, UDDMConfig)
AutoModel.register(UDDMConfig, UDDM)
