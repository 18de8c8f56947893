"""The training objective as a module."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.devices import compiled
from uddm_lib.diffusion import fused_loss
from uddm_lib.model import UDDM
from uddm_lib.training.batches import Mixture

__all__ = ["Objective"]


class Objective(torch.nn.Module):
    """The loss of a batch as a module: data-parallel wrappers then see a whole forward pass.

    It is the NELBO, or cross-entropy for a network whose output is the denoiser's law.

    Args:
        model: the network; its facts name the output.
        compile: compile the network and the loss, if there is a working compiler.
    """

    def __init__(self, model: UDDM, compile: bool = False) -> None:
        super().__init__()
        self.model = model
        # Two compiled parts: between them is a loop over tokens, which a compiler would unroll.
        self.hidden = compiled(model.hidden, model.device) if compile else model.hidden
        self.compile_loss = self.hidden != model.hidden  # there is a compiler

    def forward(
        self,
        z_t: Int[Tensor, "B L"],
        x: Int[Tensor, "B L"],
        alpha_t: Float[Tensor, "B"],
        dalpha_t: Float[Tensor, "B"],
        scale: Float[Tensor, "B"],
        mixture: Mixture | None,
    ) -> Float[Tensor, ""]:
        """Sum over all tokens of loss (nats) times ``scale``; arguments as in a ``Batch``."""
        hidden, head = self.hidden(z_t, -torch.log(alpha_t).float(), mixture), self.model.head
        if self.model.facts.output == "denoiser":
            logits = F.linear(hidden, head.weight, head.bias).float()
            losses = F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none")
            return (losses.view(x.shape) * scale[:, None].float()).sum()
        return fused_loss(
            hidden,
            head.weight,
            head.bias,
            z_t,
            x,
            alpha_t,
            dalpha_t,
            scale[:, None],
            self.compile_loss,
        )
