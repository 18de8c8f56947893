"""What tests of the binary memory share."""

import torch


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_couplings(size, seed=1):
    return torch.randn(size, size, generator=seeded(seed), dtype=torch.float64).fill_diagonal_(0)
