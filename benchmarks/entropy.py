"""Conditional entropy of 64 sequences, network included, against log-softmax and a sum over V."""

import functools

import measure
import torch

from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.probes import conditional_entropy

SEQUENCES, LENGTH, VOCAB, T = 64, 128, 30_522, 1e-5


@functools.cache
def problem(vocab_size=VOCAB, size="tiny"):
    torch.manual_seed(0)
    model = UDDM(UDDMConfig.named(size, vocab_size=vocab_size, length=LENGTH)).eval()
    model = model.to(measure.DEVICE)
    torch.nn.init.normal_(model.head.weight, std=0.05)
    x = torch.randint(vocab_size, (SEQUENCES, LENGTH), generator=torch.Generator().manual_seed(1))
    return model, x.to(measure.DEVICE)


class Logits:
    """The same network, with its logits alone."""

    def __init__(self, model):
        self.model, self.vocab_size = model, model.vocab_size

    def denoise(self, z_t, sigma):
        return self.model.denoise(z_t, sigma)


@torch.inference_mode()
def published(model, x):
    log_p = model.denoise(x, torch.tensor(T)).log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def side(entropy, bf16=False):
    def prepare():
        model, x = problem()

        def work():
            with torch.autocast(measure.DEVICE.type, torch.bfloat16, enabled=bf16):
                return entropy(model, x)

        return work

    return prepare


def agreement(_, **shape):
    model, x = problem(**shape)
    expected = conditional_entropy(Logits(model), x[:4], T)
    return {
        "largest difference from softmax and entr (nats)": (
            conditional_entropy(model, x[:4], T) - expected
        )
        .abs()
        .max()
        .item()
    }


if __name__ == "__main__":
    measure.main(
        "entropy",
        {
            "entropy": {
                "published, fp32": side(published),
                "conditional_entropy, fp32": side(conditional_entropy),
                "conditional_entropy, bf16": side(conditional_entropy, True),
            }
        },
        f"tiny, {SEQUENCES} sequences, L = {LENGTH}, V = {VOCAB:,}",
        agreement,
    )
