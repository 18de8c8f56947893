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


def config(size):
    return UDDMConfig.named(size, vocab_size=VOCAB, length=LENGTH)


def side(size, precision, ours=True, compile=False):
    def prepare():
        blocks = torch.randint(
            VOCAB, (4 * BATCH, LENGTH), generator=torch.Generator().manual_seed(1)
        )
        options = TrainingOptions(batch_size=BATCH, precision=precision, compile=compile)
        loop = TrainingLoop(Path(tempfile.mkdtemp()), blocks, config(size), options)
        if not ours:
            loop.objective = Published(loop.state.model)
        steps = iter(range(10**6))

        def work():
            for _ in range(STEPS):
                loop.update(next(steps))

        return work

    return prepare


def sides(size):
    found = {"published, fp32": side(size, "fp32", ours=False)}
    if measure.GPU:
        found["published, bf16"] = side(size, "bf16", ours=False)
    return found | {
        "ours, fp32": side(size, "fp32"),
        "ours, bf16": side(size, "bf16"),
        "ours, compiled, bf16": side(size, "bf16", compile=True),
    }


def utilization(rows):
    """Tokens a second, and the share of the device's measured rate of matrix products."""
    found = {}
    for row in rows:
        dtype = torch.bfloat16 if "bf16" in row["side"] else torch.float32
        rate = STEPS * BATCH * LENGTH / row["median_s"]
        peak = _peak(dtype)
        found |= {
            f"{row['group']}, {row['side']}: tokens/s": rate,
            f"{row['group']}, {row['side']}: MFU": rate
            * 3
            * config(row["group"]).forward_flops
            / peak,
        }
    return found


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
