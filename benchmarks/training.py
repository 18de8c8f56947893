"""Optimizer steps (network, loss, gradients, AdamW, average) against the published loss.

The published side is the same loop with logits for all tokens and the loss from them.
"""

import functools
import tempfile
from pathlib import Path

import measure
import published
import torch

from uddm_lib.devices import matmul_rate
from uddm_lib.model import UDDMConfig
from uddm_lib.training import TrainingLoop, TrainingOptions

BATCH, LENGTH, VOCAB, STEPS = 512 if measure.GPU else 8, 128, 30_522, 4
SIZES = ("tiny", "small") if measure.GPU else ("tiny",)


class Published(torch.nn.Module):
    """The objective of the loop with the loss from logits of all tokens."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, z_t, x, alpha_t, dalpha_t, scale, mixture):
        return published.nelbo(
            self.model(z_t, -torch.log(alpha_t).float()).logits, z_t, x, alpha_t, dalpha_t
        ).mean()


def config(size, vocab_size=VOCAB):
    return UDDMConfig.named(size, vocab_size=vocab_size, length=LENGTH)


def side(size, precision, ours=True, compile=False, batch=BATCH, vocab_size=VOCAB, steps=STEPS):
    def prepare():
        blocks = torch.randint(
            vocab_size, (4 * batch, LENGTH), generator=torch.Generator().manual_seed(1)
        )
        options = TrainingOptions(batch_size=batch, precision=precision, compile=compile)
        loop = TrainingLoop(Path(tempfile.mkdtemp()), blocks, config(size, vocab_size), options)
        if not ours:
            loop.objective = Published(loop.state.model)
        numbers = iter(range(10**6))

        def work():
            for _ in range(steps):
                loop.update(next(numbers))

        return work

    return prepare


def sides(size, **shape):
    found = {"published, fp32": side(size, "fp32", ours=False, **shape)}
    if measure.GPU:
        found["published, bf16"] = side(size, "bf16", ours=False, **shape)
    return found | {
        "ours, fp32": side(size, "fp32", **shape),
        "ours, bf16": side(size, "bf16", **shape),
        "ours, compiled, bf16": side(size, "bf16", compile=True, **shape),
    }


def utilization(rows):
    """Tokens a second and MFU of all sides."""
    found = {}
    for row in rows:
        rate = STEPS * BATCH * LENGTH / row["median_s"]
        found |= {
            f"{row['group']}, {row['side']}: tokens/s": rate,
            f"{row['group']}, {row['side']}: MFU": mfu(rate, config(row["group"]), row["side"]),
        }
    return found


def mfu(rate, config, side):
    """Share of the device's measured rate of matrix products, at ``rate`` tokens a second."""
    dtype = torch.bfloat16 if "bf16" in side else torch.float32
    return rate * 3 * config.forward_flops / _peak(dtype)


@functools.cache
def _peak(dtype):
    return matmul_rate(
        measure.DEVICE, dtype, (8192, 8192, 8192) if measure.GPU else (2048, 1024, 1024)
    )


if __name__ == "__main__":
    measure.main(
        "training",
        {size: sides(size) for size in SIZES},
        f"{STEPS} steps, B = {BATCH}, L = {LENGTH}, V = {VOCAB:,}",
        utilization,
    )
