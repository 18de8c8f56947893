"""Logits of a few tokens at a time, for the functions that never hold a (B, L, V) tensor."""

import torch

ENTRIES = 2**22  # logits held at once: 16 MiB in float32, some 137 tokens at V = 30,522
ENTRIES_GPU = 2**28  # on a GPU, which few tokens leave idle: 1 GiB
SMALL = 1024  # a vocabulary whose logits cost next to nothing: no products in bfloat16


def dtypes(hidden, weight):
    """Dtypes of the matrix products and of what follows them."""
    kind = hidden.device.type
    product = torch.promote_types(hidden.dtype, weight.dtype)
    if len(weight) < SMALL:
        product = torch.promote_types(product, torch.float32)
    elif torch.is_autocast_enabled(kind) and product == torch.float32:
        product = torch.get_autocast_dtype(kind)
    return product, torch.promote_types(product, torch.float32)


def pieces(hidden, vocab_size):
    """Slices of the rows of ``hidden``, of nearly equal lengths, that hold at most ``ENTRIES`` logits each."""
    n, entries = len(hidden), ENTRIES_GPU if hidden.is_cuda else ENTRIES
    count = -(-n // max(entries // vocab_size, 1))
    size = -(-n // max(count, 1))
    return [slice(start, min(start + size, n)) for start in range(0, n, max(size, 1))]


def logits_at(h, weight, bias, work):
    """Logits (n, V) in the dtype ``work``, from products in the inputs' own."""
    if h.dtype == work:
        return h @ weight.T if bias is None else torch.addmm(bias.to(work), h, weight.T)
    if h.is_cuda and work == torch.float32:
        logits = torch.mm(h, weight.T, out_dtype=work)
    else:
        logits = h @ weight.T  # rounded to the products' dtype: there is no other kernel
    return logits.to(work) if bias is None else logits + bias.to(work)


def exponentials(logits):
    """exp(logits - largest), in place of the logits; the largest (n, 1); and the sums (n, 1)."""
    top = logits.amax(-1, keepdim=True)
    e = logits.sub_(top).exp_()
    return e, top, e.sum(-1, keepdim=True)


def over_logits(function, hidden, weight, bias, *given):
    """What ``function(logits, *given)`` makes of some rows of ``hidden`` (n, D) at a time, in a list.

    Autocast chooses the dtype of the products that make the logits and is off for the function, whose sums it would
    round.
    """
    product, work = dtypes(hidden, weight)
    weight = weight.to(product) if len(hidden) else weight
    with torch.autocast(hidden.device.type, enabled=False):
        return [
            function(
                logits_at(hidden[part].to(product), weight, bias, work),
                *(tensor[part] for tensor in given),
            )
            for part in pieces(hidden, len(weight))
        ]
