"""Logits of a few tokens at a time, for the functions that never hold a (B, L, V) tensor."""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

T = TypeVar("T")

ENTRIES = 2**22  # logits held at once: 16 MiB in float32, some 137 tokens at V = 30,522
ENTRIES_GPU = 2**28  # on a GPU, which few tokens leave idle: 1 GiB
SMALL = 1024  # a vocabulary whose logits cost next to nothing: no products in bfloat16


def dtypes(
    hidden: Float[Tensor, "N D"], weight: Float[Tensor, "V D"]
) -> tuple[torch.dtype, torch.dtype]:
    """Dtypes of the matrix products and of what follows them."""
    device = hidden.device.type
    product = torch.promote_types(hidden.dtype, weight.dtype)
    if len(weight) < SMALL:
        product = torch.promote_types(product, torch.float32)
    elif torch.is_autocast_enabled(device) and product == torch.float32:
        product = torch.get_autocast_dtype(device)
    return product, torch.promote_types(product, torch.float32)


def pieces(hidden: Float[Tensor, "N D"], vocab_size: int) -> list[slice]:
    """Slices of the rows of ``hidden``, nearly equal, of at most ``ENTRIES`` logits each."""
    n, entries = len(hidden), ENTRIES_GPU if hidden.is_cuda else ENTRIES
    count = -(-n // max(entries // vocab_size, 1))
    size = -(-n // max(count, 1))
    return [slice(start, min(start + size, n)) for start in range(0, n, max(size, 1))]


def logits_at(
    h: Float[Tensor, "n D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    work: torch.dtype,
) -> Float[Tensor, "n V"]:
    """Logits in the dtype ``work``, from products in the inputs' own."""
    if h.dtype == work:
        return h @ weight.T if bias is None else torch.addmm(bias.to(work), h, weight.T)
    if h.is_cuda and work == torch.float32:
        logits = torch.mm(h, weight.T, out_dtype=work)
    else:
        logits = h @ weight.T  # rounded to the products' dtype: there is no other kernel
    return logits.to(work) if bias is None else logits + bias.to(work)


def exponentials(
    logits: Float[Tensor, "n V"],
) -> tuple[Float[Tensor, "n V"], Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """exp(logits - largest), in place of the logits; the largest; and the sums."""
    top = logits.amax(-1, keepdim=True)
    e = logits.sub_(top).exp_()
    return e, top, e.sum(-1, keepdim=True)


def over_logits(
    function: Callable[..., T],
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    bias: Float[Tensor, " V"] | None,
    *per_token: Tensor,
) -> list[T]:
    """Results of ``function(logits, *per_token)`` for some rows of ``hidden`` at a time.

    Autocast chooses the dtype of the products that make the logits. It is off for the function,
    whose sums it would round.
    """
    product, work = dtypes(hidden, weight)
    weight = weight.to(product) if len(hidden) else weight
    with torch.autocast(hidden.device.type, enabled=False):
        return [
            function(
                logits_at(hidden[part].to(product), weight, bias, work),
                *(tensor[part] for tensor in per_token),
            )
            for part in pieces(hidden, len(weight))
        ]
