"""Loss, forward and backward, of the whole model and from hidden states, against the published.

The published side is float32. bf16: matrix products in bfloat16 under autocast.
"""

import functools

import measure
import published
import torch

from uddm_lib.diffusion import corrupt, fused_loss
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.schedule import LogLinearSchedule

BATCH, LENGTH, VOCAB = 512 if measure.GPU else 8, 128, 30_522
PIECE = 8192 if measure.GPU else 128  # tokens whose logits exist at once, as in the loss


@functools.cache
def problem(vocab_size=VOCAB, size="tiny", batch=BATCH):
    """A model with an output layer that is not zero, tokens, noise levels."""
    torch.manual_seed(0)
    model = UDDM(UDDMConfig.named(size, vocab_size=vocab_size, length=LENGTH, dropout=0.0)).to(
        measure.DEVICE
    )
    torch.nn.init.normal_(model.head.weight, std=0.05)
    generator = torch.Generator().manual_seed(1)
    t = (torch.arange(batch, dtype=torch.float64) + 0.5) / batch
    alpha, dalpha = LogLinearSchedule().alpha(t), LogLinearSchedule().dalpha(t).expand(batch)
    x = torch.randint(vocab_size, (batch, LENGTH), generator=generator)
    return model, [
        part.to(measure.DEVICE)
        for part in (corrupt(x, alpha, vocab_size, generator), x, alpha, dalpha)
    ]


def plainly(loss):
    """The loss of logits (B, L, V) as a loss of hidden states."""
    return lambda hidden, weight, bias, *rest: loss(
        torch.nn.functional.linear(hidden, weight, bias), *rest
    ).mean()


def compiled(*arguments):
    return fused_loss(*arguments, compile=True)


def products(bf16, **shape):
    """The three matrix products of the loss and its gradients alone: what limits it."""

    def prepare():
        model, (z_t, _, alpha, _) = problem(**shape)
        with torch.no_grad():
            hidden = model.hidden(z_t, -alpha.log().float()).flatten(0, 1)
        dtype = torch.bfloat16 if bf16 else torch.float32
        hidden, weight = hidden.to(dtype), model.head.weight.detach().to(dtype)
        total = torch.zeros_like(weight)

        def work():
            for part in hidden.split(PIECE):
                logits = part @ weight.T
                logits @ weight
                total.addmm_(logits.T, part)

        return work

    return prepare


def side(loss, whole, bf16=False, **shape):
    """Prepare the forward and backward pass of the whole model, or from its hidden states.

    ``shape`` holds the arguments of :func:`problem`.
    """

    def prepare():
        model, (z_t, *rest) = problem(**shape)
        head = model.head
        sigma = -rest[1].log().float()
        states = model.hidden(z_t, sigma).detach().requires_grad_()

        def work():
            model.zero_grad()
            states.grad = None
            with torch.autocast(measure.DEVICE.type, torch.bfloat16, enabled=bf16):
                hidden = model.hidden(z_t, sigma) if whole else states
                value = loss(hidden, head.weight, head.bias, z_t, *rest)
            value.backward()
            return (
                value.detach(),
                head.weight.grad,
                head.bias.grad,
                *([] if whole else [states.grad]),
            )

        return work

    return prepare


def sides(whole, **shape):
    plain = plainly(published.nelbo)
    kinds = () if whole else ("fp32", "bf16")
    alone = {
        f"three matrix products alone, {kind}": products(kind == "bf16", **shape) for kind in kinds
    }
    return {
        "published, fp32": side(plain, whole, **shape),
        **({"published, bf16": side(plain, whole, True, **shape)} if measure.GPU else {}),
        "fused, fp32": side(fused_loss, whole, **shape),
        "fused, compiled, fp32": side(compiled, whole, **shape),
        "fused, bf16": side(fused_loss, whole, True, **shape),
        "fused, compiled, bf16": side(compiled, whole, True, **shape),
        **alone,
    }


def distances(losses, exact=fused_loss, **shape):
    """Relative distances of value and gradients from ``exact`` in float64, from hidden states.

    ``losses`` are functions by name. ``shape`` holds the arguments of :func:`problem`.
    """
    model, rest = problem(**shape)
    layer = [
        part.detach()
        for part in (model.hidden(rest[0], -rest[2].log().float()), *model.head.parameters())
    ]

    def run(loss, dtype):
        leaves = [part.to(dtype, copy=True).requires_grad_() for part in layer]
        value = loss(*leaves, *rest)
        value.backward()
        return value.detach(), *(leaf.grad for leaf in leaves)

    reference, found = run(exact, torch.float64), {}
    for name, loss in losses.items():
        for part, ours, theirs in zip(
            ("value", "hidden", "weight", "bias"), run(loss, torch.float32), reference
        ):
            found[f"{name}, {part}, from float64"] = ((ours - theirs).norm() / theirs.norm()).item()
    return found


def agreement(_):
    return distances({"published, fp32": plainly(published.nelbo), "fused, fp32": fused_loss})


if __name__ == "__main__":
    measure.main(
        "loss",
        {
            "whole model": sides(whole=True),
            "from hidden states": sides(whole=False),
            "fused, fp32, from hidden states, as V grows": {
                f"V = {size:,}": side(fused_loss, False, vocab_size=size)
                for size in (8192, 16_384, 32_768, 65_536)
            },
        },
        f"forward and backward, tiny, B = {BATCH}, L = {LENGTH}, V = {VOCAB:,}",
        agreement,
    )
