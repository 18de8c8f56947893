"""Muon (Jordan et al. 2024): the update of a weight matrix is its momentum, made orthogonal."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Muon"]

_MOMENTUM = 0.95
_ITERATIONS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)  # Newton-Schulz, as Jordan et al. use it


class Muon(torch.optim.Optimizer):
    """The updates of ``torch.optim.Muon``, computed for all matrices of one shape at once.

    On a CPU, where a network's matrices are small, this takes half of its time or less. Updates
    have the size of AdamW's (``match_rms_adamw``), so one learning rate suits both.

    Args:
        parts: the weights, each with how many matrices of their own lie one above the other in it.
        learning_rate: of the updates.
        dtype: of the products.
    """

    def __init__(
        self, parts: Mapping[nn.Parameter, int], learning_rate: float, dtype: torch.dtype
    ) -> None:
        self._parts, self._dtype = dict(parts), dtype
        super().__init__(list(parts), {"lr": learning_rate})

    @torch.no_grad()
    def step(  # type: ignore[override]
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Take one step; a ``closure`` computes the gradients anew, and its loss is returned."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        (group,) = self.param_groups
        alike = defaultdict(list)
        for weight in group["params"]:
            update = self._update(weight)
            alike[update.shape[1:]].append((weight, update))
        for shape, found in alike.items():
            rate = 0.2 * math.sqrt(max(shape)) * group["lr"]
            weights, updates = zip(*found)
            orthogonal = _orthogonal(torch.cat(updates).to(self._dtype))
            for weight, update in zip(weights, orthogonal.split([len(one) for one in updates])):
                matrices = self._matrices(weight, weight)
                matrices.sub_(update if matrices.shape == update.shape else update.mT, alpha=rate)
        return loss

    def _update(self, weight: nn.Parameter) -> Float[Tensor, "parts rows columns"]:
        """The next update before it is made orthogonal; its matrices are laid wide."""
        gradient = weight.grad
        assert gradient is not None
        momentum = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
        momentum.lerp_(gradient, 1 - _MOMENTUM)
        update = self._matrices(weight, gradient.lerp(momentum, _MOMENTUM))
        return update.mT if update.shape[1] > update.shape[2] else update

    def _matrices(
        self, weight: nn.Parameter, values: Float[Tensor, "rows columns"]
    ) -> Float[Tensor, "parts height columns"]:
        return values.unflatten(0, (self._parts[weight], -1))


def _orthogonal(matrices: Float[Tensor, "B h w"]) -> Float[Tensor, "B h w"]:
    """Matrices with the same singular vectors and singular values near 1."""
    a, b, c = _COEFFICIENTS
    X = matrices / torch.linalg.matrix_norm(matrices, keepdim=True).clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X
