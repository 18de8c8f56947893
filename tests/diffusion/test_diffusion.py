"""The pure functions of the method; their laws are proved in test_enumeration.py."""

import itertools

import pytest
import torch

from helpers.compare import chi_square, gap
from helpers.problems import seeded
from uddm_lib.diffusion import corrupt, gaussian_latent, nelbo, posterior, reverse_step
from uddm_lib.schedule import duality_alpha


@pytest.mark.parametrize("alpha, kept", [(1.0, 1.0), (0.0, 0.2)])
def test_corrupt_at_the_ends(alpha, kept):
    x = torch.randint(5, (200, 100), generator=seeded())
    assert (corrupt(x, alpha, 5, seeded(1)) == x).double().mean().item() == pytest.approx(
        kept, abs=0.02
    )


def test_corrupt_takes_a_level_per_sequence():
    x = torch.zeros(2, 4000, dtype=torch.long)
    kept = (corrupt(x, torch.tensor([0.9, 0.1]), 1000, seeded()) == x).double().mean(1)
    torch.testing.assert_close(
        kept, torch.tensor([0.9, 0.1], dtype=torch.float64), atol=0.02, rtol=0
    )


def naive_nelbo(p, z, x, alpha, dalpha):
    """Paper eq. (3), written out term by term for one token."""
    vocab_size = len(p)
    xbar = vocab_size * alpha * torch.eye(vocab_size, dtype=torch.float64)[x] + 1 - alpha
    theta = vocab_size * alpha * p + 1 - alpha
    terms = xbar / xbar[z] * torch.log(theta[z] * xbar / (theta * xbar[z]))
    return (
        dalpha / (vocab_size * alpha) * (vocab_size / xbar[z] - vocab_size / theta[z] - terms.sum())
    )


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 0.999])
def test_nelbo_is_equation_3(alpha):
    logits = torch.randn(9, 1, 4, generator=seeded(), dtype=torch.float64)
    z, x = torch.randint(4, (2, 9, 1), generator=seeded(1))
    actual = nelbo(logits, z, x, alpha, -0.999)[:, 0]
    expected = torch.stack(
        [naive_nelbo(logits[i, 0].softmax(-1), z[i, 0], x[i, 0], alpha, -0.999) for i in range(9)]
    )
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-12)
    assert (actual >= 0).all()
    in_float32 = nelbo(logits.float(), z, x, alpha, -0.999)[:, 0]
    assert in_float32.dtype == torch.float32
    torch.testing.assert_close(in_float32.double(), expected, rtol=1e-4, atol=1e-6)


def test_nelbo_vanishes_at_the_truth():
    x = torch.tensor([[2, 0]])
    logits = 80.0 * torch.nn.functional.one_hot(x, 4)
    for z in itertools.product(range(4), repeat=2):
        assert nelbo(logits, torch.tensor([z]), x, 0.5, -0.999).abs().max() < 1e-6


def test_bad_levels_and_tokens_are_named():
    x = torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="alpha_t holds 1.5"):
        corrupt(x, 1.5, 4)
    with pytest.raises(ValueError, match="token ids from 0 to 7; allowed are 0 to 3"):
        corrupt(torch.tensor([[0, 7]]), 0.5, 4)
    with pytest.raises(ValueError, match="alpha_t <= alpha_s"):
        reverse_step(torch.zeros(1, 2, 4), x, 0.2, 0.5)
    with pytest.raises(ValueError, match="alpha_t <= alpha_s"):
        posterior(torch.full((1, 2, 4), 0.25), x, 0.2, 0.5)
    for alpha in (0.0, 1.0):
        with pytest.raises(
            ValueError, match=f"alpha_t holds {alpha:g} to {alpha:g}; allowed is 0 < alpha_t < 1"
        ):
            nelbo(torch.zeros(1, 2, 4), x, x, alpha, -0.999)


def dense_latent(draws, vocab_size, gamma, generator):
    """softmax(w / tau) at every token but x = 1, largest first, from all V Gaussians."""
    signal, noise = (
        torch.sigmoid(torch.tensor(sign * gamma, dtype=torch.float64)).sqrt() for sign in (-1, 1)
    )
    w = noise * torch.randn(draws, vocab_size, generator=generator, dtype=torch.float64)
    w[:, 1] += signal
    return torch.softmax(w / 1e-3, -1)


def test_gaussian_latent_has_the_law_of_all_the_gaussians(worst):
    draws, vocab_size, gamma = 100_000, 6, -1.0
    z_t, tokens, weights = gaussian_latent(
        torch.ones(draws, 1, dtype=torch.long), gamma, vocab_size, seeded(), keep=3
    )
    assert (tokens[:, 0, 0] == 1).all() and tokens.sort(-1).values.diff(dim=-1).min() > 0
    assert torch.equal(tokens.gather(-1, weights.argmax(-1, keepdim=True))[..., 0], z_t)
    alpha = duality_alpha(gamma, vocab_size)
    law = alpha * torch.eye(vocab_size)[1] + (1 - alpha) / vocab_size
    worst(
        "Gaussian latent, argmax, chi-square in standard deviations",
        "duality operator, 1e5 draws",
        chi_square(torch.bincount(z_t[:, 0], minlength=vocab_size), law),
        3.7,
    )
    dense = dense_latent(draws, vocab_size, gamma, seeded(1))
    # The shares of x, and of the largest others, in ten classes from 0 to 1.
    for actual, expected in (
        (weights[:, 0, 0], dense[:, 1]),
        (weights[:, 0, 1], dense[:, [0, 2, 3, 4, 5]].amax(1)),
        (weights[:, 0, 2], dense[:, [0, 2, 3, 4, 5]].sort(1).values[:, -2]),
    ):
        shares = [torch.histc(weight, 10, 0, 1) / draws for weight in (actual, expected)]
        worst(
            "Gaussian latent, weights, shares in ten classes",
            "all V Gaussians, 1e5 draws",
            gap(*shares),
            0.01,
        )


def test_gaussian_latent_leaves_nothing_out_at_the_papers_vocabulary(worst):
    dense = dense_latent(500, 30_522, -1.75, seeded())
    dense[:, 1] = 0
    worst(
        "Gaussian latent, weight beyond 16 tokens",
        "all V Gaussians, V = 30,522",
        dense.sum(1).sub(dense.topk(16).values.sum(1)).max(),
        1e-9,
    )


def test_gaussian_latent_of_a_tiny_vocabulary_keeps_all():
    _, tokens, weights = gaussian_latent(torch.tensor([[0, 1]]), torch.tensor([0.0]), 2, seeded())
    assert tokens.tolist() == [[[0, 1], [1, 0]]] and weights.sum(-1).allclose(
        torch.ones((), dtype=torch.float64)
    )


@pytest.mark.parametrize("options, message", [({"tau": 0.0}, "tau=0.0"), ({"keep": 0}, "keep=0")])
def test_gaussian_latent_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        gaussian_latent(torch.tensor([[0]]), 0.0, 3, **options)
