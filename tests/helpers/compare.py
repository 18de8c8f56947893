"""Distances between tensors, and between counts and a law, for tests."""

import torch


def gap(found, expected):
    """Largest absolute difference, in float64."""
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    assert found.shape == expected.shape
    return (found - expected).abs().max().item()


def relative_gap(found, expected, rows=False):
    """Largest difference over the expected size; if ``rows``, over the largest entry of its row."""
    found, expected = torch.as_tensor(found).double(), torch.as_tensor(expected).double()
    assert found.shape == expected.shape
    difference = (found - expected).abs()
    if rows:
        return (difference.flatten(1).amax(1) / expected.abs().flatten(1).amax(1)).max().item()
    return (difference / expected.abs()).max().item()


def chi_square(counts, law, impossible=0):
    """How far counts are from a law, in standard deviations (Wilson-Hilferty).

    By chance they are 3.7 away with probability 1e-4. At most ``impossible`` draws may fall on
    states that the law excludes.
    """
    possible = law > 0
    assert counts[~possible].sum() <= impossible
    counts, law = counts[possible].double(), law[possible]
    expected = counts.sum() * law
    freedom = len(law) - 1
    ratio = ((counts - expected) ** 2 / expected).sum().item() / freedom
    return (ratio ** (1 / 3) - 1 + 2 / (9 * freedom)) / (2 / (9 * freedom)) ** 0.5
