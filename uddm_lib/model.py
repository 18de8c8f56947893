"""The diffusion transformer (paper table 1) as a transformers model.

The architecture is the DiT of the Diffusion Duality code: rotary attention, bias-free LayerNorm,
blocks modulated by an embedding of the noise level (adaLN, zero at the start), untied input and
output embeddings.
"""

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from uddm_lib import _checks
from uddm_lib._layers import (
    Block,
    LayerNorm,
    NoiseEmbedding,
    ZeroLinear,
    linear,
    modulate,
    rotary_tables,
)
from uddm_lib.facts import Facts
from uddm_lib.schedule import Level

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
        adaln_zero: start every block as the identity (the paper's choice). Without it short runs
            learn much faster.
        time_conditioning: tell the network the noise level. Without it, it sees that of sigma = 0
            at all times.
        facts: what the predictions mean, where it differs from the defaults of
            :class:`~uddm_lib.facts.Facts`.

    Raises:
        ValueError: if a value is not a positive integer, widths don't fit together, or a fact is
            unknown.
    """

    model_type = "uddm"

    def __init__(
        self,
        vocab_size: int = 32,
        length: int = 16,
        hidden_size: int = 64,
        cond_dim: int = 64,
        n_blocks: int = 2,
        n_heads: int = 4,
        dropout: float = 0.1,
        mlp_ratio: int = 4,
        frequency_embedding_size: int = 256,
        adaln_zero: bool = True,
        time_conditioning: bool = True,
        facts: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = _checks.integer("vocab_size", vocab_size, 2)
        self.length = _checks.positive_integer("length", length)
        self.hidden_size = _checks.positive_integer("hidden_size", hidden_size)
        self.cond_dim = _checks.positive_integer("cond_dim", cond_dim)
        self.n_blocks = _checks.positive_integer("n_blocks", n_blocks)
        self.n_heads = _checks.positive_integer("n_heads", n_heads)
        self.mlp_ratio = _checks.positive_integer("mlp_ratio", mlp_ratio)
        self.frequency_embedding_size = _checks.positive_integer(
            "frequency_embedding_size", frequency_embedding_size
        )
        self.dropout, self.adaln_zero = dropout, adaln_zero
        self.time_conditioning, self.facts = time_conditioning, dict(facts or {})
        if hidden_size % (2 * n_heads):
            raise ValueError(
                f"hidden_size={hidden_size} is not a multiple of 2 x n_heads={n_heads}"
            )
        if frequency_embedding_size % 2:
            raise ValueError(f"frequency_embedding_size={frequency_embedding_size} is odd")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} is outside [0, 1)")
        if not isinstance(time_conditioning, bool):
            raise ValueError(f"time_conditioning={time_conditioning!r} is neither true nor false")
        try:
            mask = Facts(**self.facts).mask_id
        except TypeError as error:
            raise ValueError(f"facts={self.facts!r}: {error}") from None
        if mask is not None and mask >= vocab_size:
            raise ValueError(f"mask_id={mask} is outside of the {vocab_size} tokens")
        # What a model that was saved in half precision computes in, unless its file says otherwise.
        kwargs.setdefault("dtype", "float32")
        kwargs.setdefault("architectures", ["UDDM"])
        super().__init__(**kwargs)

    @property
    def forward_flops(self) -> int:
        """Floating-point operations per token of a forward pass's matrix products.

        Training takes three times as many. They are counted as for model FLOPs utilization
        (Chowdhery et al. 2022, appendix B): linear layers and attention over ``length`` tokens. The
        modulations, computed once a sequence, are left out.
        """
        block = (4 + 2 * self.mlp_ratio) * self.hidden_size**2 + 2 * self.length * self.hidden_size
        return 2 * (self.n_blocks * block + self.hidden_size * self.vocab_size)

    @classmethod
    def named(cls, size: str, vocab_size: int, length: int, **changes: Any) -> "UDDMConfig":
        """Configuration of a named size.

        The paper's are tiny, small and medium (table 1); smaller ones are for CPUs. ``changes``
        replace single values of the configuration.

        Raises:
            ValueError: if the name, or that of a value, is unknown; the message lists the known
                ones.
        """
        if size not in SIZES:
            raise ValueError(f"size={size!r} is unknown; allowed are {', '.join(SIZES)}")
        # transformers would keep any other value, and nothing would read it.
        known = [*inspect.signature(cls.__init__).parameters][1:-1]
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"{name}={value!r} is unknown; allowed are {', '.join(known)}")
        return cls(vocab_size=vocab_size, length=length, **(SIZES[size] | changes))


@dataclass
class UDDMOutput(ModelOutput):
    """Output of :class:`UDDM`: ``logits`` of the clean tokens, float32."""

    logits: Float[Tensor, "B L V"] | None = None


class UDDM(PreTrainedModel):
    """Denoiser: noisy tokens and noise level in, logits of the clean tokens out (paper eq. (5)).

    It is the (z_t, sigma_t) -> logits map that sampling and probes expect of every denoiser.
    """

    config_class = UDDMConfig
    main_input_name = "input_ids"

    def __init__(self, config: UDDMConfig) -> None:
        super().__init__(config)
        size, cond_dim, zero = config.hidden_size, config.cond_dim, config.adaln_zero
        self.vocab_embed = nn.Embedding(config.vocab_size, size)
        self.sigma_map = NoiseEmbedding(config.frequency_embedding_size, cond_dim)
        self.blocks = nn.ModuleList(
            Block(size, cond_dim, config.n_heads, config.dropout, config.mlp_ratio, zero)
            for _ in range(config.n_blocks)
        )
        self.norm = LayerNorm(size)
        self.modulation = linear(cond_dim, 2 * size, zero=zero)
        self.head = linear(size, config.vocab_size, zero=True)
        self.post_init()

    @property
    def vocab_size(self) -> int:
        """V, the number of tokens."""
        return self.config.vocab_size

    @property
    def length(self) -> int:
        """L, the largest number of tokens a sequence."""
        return self.config.length

    @property
    def facts(self) -> Facts:
        """What the predictions mean."""
        facts = Facts(**self.config.facts)
        return facts if self.config.time_conditioning else replace(facts, level="none")

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # transformers calls this for every module that a checkpoint does not fill. The head starts
        # at zero (uniform predictions), and so do the modulations unless the configuration says
        # otherwise.
        if isinstance(module, ZeroLinear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            module.reset_parameters()
        elif isinstance(module, nn.Embedding):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5))
        elif isinstance(module, LayerNorm):
            nn.init.ones_(module.weight)

    def hidden(
        self,
        z_t: Int[Tensor, "B L"],
        sigma: Level,
        mixture: tuple[Int[Tensor, "B L K"], Float[Tensor, "B L K"]] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """Last hidden states, which :attr:`head` turns into logits.

        Args:
            z_t: noisy tokens, at most ``length`` a sequence.
            sigma: noise level -log alpha_t, a number or shape (), (B,) or (B, 1). (A network whose
                ``facts.level`` is ``t`` takes the time.)
            mixture: tokens and their weights, whose weighted embeddings replace those of ``z_t``
                (the soft input of a Gaussian curriculum, paper appendix B).

        Raises:
            ValueError: if the sequences are longer than the model's ``length``.
        """
        if z_t.shape[-1] > self.config.length:
            raise ValueError(
                f"sequences of {z_t.shape[-1]} tokens do not fit a model of length {self.length}"
            )
        sigma = torch.as_tensor(sigma, device=z_t.device).reshape(-1).expand(z_t.shape[0])
        if not self.config.time_conditioning:
            sigma = torch.zeros_like(sigma)
        h = self.vocab_embed(z_t) if mixture is None else self._mix(*mixture)
        condition = F.silu(self.sigma_map(sigma.to(h.dtype)))
        head_size = self.config.hidden_size // self.config.n_heads
        rotary = rotary_tables(z_t.shape[-1], head_size, h.device)
        for block in self.blocks:
            h = block(h, condition, rotary)
        shift, scale = self.modulation(condition)[:, None].chunk(2, dim=-1)
        return modulate(self.norm(h), shift, scale)

    def _mix(
        self, tokens: Int[Tensor, "B L K"], weights: Float[Tensor, "B L K"]
    ) -> Float[Tensor, "B L D"]:
        count = tokens.shape[-1]
        mixed = F.embedding_bag(
            tokens.reshape(-1, count),
            self.vocab_embed.weight,
            mode="sum",
            per_sample_weights=weights.reshape(-1, count).to(self.vocab_embed.weight.dtype),
        )
        return mixed.view(*tokens.shape[:-1], -1)

    def forward(
        self,
        input_ids: Int[Tensor, "B L"],
        sigma: Level,
        mixture: tuple[Int[Tensor, "B L K"], Float[Tensor, "B L K"]] | None = None,
        return_dict: bool | None = None,
    ) -> UDDMOutput | tuple[Float[Tensor, "B L V"]]:
        """Logits of the clean tokens at noise level sigma; see :meth:`hidden` for the arguments.

        There is no ``attention_mask``, since sequences have no padding, and there are no
        ``labels``, since the loss needs more than them: unknown arguments raise a TypeError.

        Args:
            return_dict: as in every transformers model, False gives a tuple. Its exporters and
                pipelines pass it.
        """
        h = self.hidden(input_ids, sigma, mixture)
        # Entropies of 1e-2 nats and log-likelihoods are read off these logits: bfloat16 would blur
        # them.
        with torch.autocast(h.device.type, enabled=False):
            logits = F.linear(h.float(), self.head.weight.float(), self.head.bias.float())
        return (logits,) if return_dict is False else UDDMOutput(logits=logits)

    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
        """Logits of the clean tokens: the interface that every denoiser shares."""
        return self(z_t, sigma).logits


AutoConfig.register(UDDMConfig.model_type, UDDMConfig)
AutoModel.register(UDDMConfig, UDDM)
