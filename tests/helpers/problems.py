"""Small problems that several test modules share."""

import torch

from uddm_lib.model import UDDM, UDDMConfig


def seeded(seed=0):
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def problem(vocab_size, size=0.3, shape=(2, 9), width=24, seed=0):
    """Hidden states, output layer, tokens (half of them kept) and their weights in a loss."""

    def normal(*shape):
        return torch.randn(shape, generator=seeded(seed + len(shape)))

    x, noise = torch.randint(vocab_size, (2, *shape), generator=seeded(seed))
    z_t = torch.where(torch.rand(shape, generator=seeded(seed + 1)) < 0.5, x, noise)
    layer = normal(*shape, width), size * normal(vocab_size, width), size * normal(vocab_size)
    return layer, z_t, x, torch.rand(shape, generator=seeded(seed + 2), dtype=torch.float64)


class Logits:
    """A network seen through its logits alone."""

    def __init__(self, model):
        self.denoise, self.vocab_size = model.denoise, model.vocab_size


def network(size=2.0):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = UDDM(
            UDDMConfig(
                vocab_size=3,
                length=2,
                hidden_size=16,
                cond_dim=8,
                n_blocks=1,
                n_heads=2,
                adaln_zero=False,
            )
        ).eval()
        torch.nn.init.normal_(model.head.weight, std=size / 4)
    return model


def chain_law(initial, transition, length):
    """All sequences of a Markov chain and their probabilities."""
    vocab_size = len(initial)
    sequences = torch.cartesian_prod(*[torch.arange(vocab_size)] * length).view(-1, length)
    steps = transition[sequences[:, :-1], sequences[:, 1:]].prod(1)
    return sequences, initial[sequences[:, 0]] * steps
