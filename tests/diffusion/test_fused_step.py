"""The reverse step and the probes without (B, L, V) tensors, against exact laws."""

import pytest
import torch

from helpers.compare import chi_square
from helpers.problems import problem, seeded
from uddm_lib.diffusion import (
    _chunks,
    _levels,
    fused_entropy,
    fused_mode,
    fused_reverse_step,
    fused_sharpness,
    posterior,
    reverse_step,
    step,
    step_from_hidden,
    undecided,
)

# As in test_enumeration.py.
LEVELS = [(0.7, 0.3), (0.051, 0.001), (0.99, 0.98), (1.0, 0.3), (1.0, 0.99999)]


@pytest.mark.parametrize(
    "vocab_size, alpha_s, alpha_t",
    [(4, *levels) for levels in LEVELS] + [(300, 0.7, 0.3), (300, 0.051, 0.001), (300, 1.0, 0.3)],
)
def test_enumeration_of_the_fused_reverse_step(alpha_s, alpha_t, vocab_size, worst, monkeypatch):
    monkeypatch.setattr(step, "_BLOCK", 16)
    draws, prediction = 100_000, torch.randn(vocab_size, generator=seeded(3))
    hidden, weight = torch.ones(draws, 1, 1), prediction[:, None]
    for z_t in (0, vocab_size - 1):
        start = torch.full((draws, 1), z_t)
        drawn = fused_reverse_step(hidden, weight, None, start, alpha_s, alpha_t, seeded(z_t))
        law = posterior(
            prediction.double().softmax(-1).view(1, 1, -1), start[:1], alpha_s, alpha_t
        )[0, 0]
        worst(
            "fused reverse step, chi-square in standard deviations",
            "posterior",
            chi_square(torch.bincount(drawn[:, 0], minlength=vocab_size), law),
            3.7,
        )


def test_enumeration_of_the_fused_greedy_step():
    (hidden, weight, bias), z_t, _, _ = problem(5, size=1.0, shape=(40, 4))
    logits = torch.nn.functional.linear(hidden, weight, bias)
    for alpha_s, alpha_t in [*LEVELS, (0.9, 0.001), (1.0, 0.5)]:
        assert torch.equal(
            fused_reverse_step(hidden, weight, bias, z_t, alpha_s, alpha_t, greedy=True),
            reverse_step(logits, z_t, alpha_s, alpha_t, greedy=True),
        )
    assert torch.equal(fused_mode(hidden, weight, bias), logits.argmax(-1))


@pytest.mark.parametrize("alpha_s, alpha_t", [*LEVELS, (0.5, 0.499)])
def test_decided_tokens_stay_whatever_is_predicted(alpha_s, alpha_t):
    z_t = torch.randint(50, (100, 100), generator=seeded())
    u = torch.rand(z_t.shape, generator=seeded(1), dtype=torch.float64)
    weights = _levels.token_weights(z_t, alpha_s, alpha_t)
    open_tokens = undecided(u, weights)
    # At logits this large p[z_t] is often exactly 0, where staying weighs least.
    weight = 40 * torch.randn(50, 4, generator=seeded(7))
    for seed in range(2):
        hidden = torch.randn(100, 100, 4, generator=seeded(seed))
        moved = step_from_hidden(hidden, weight, None, z_t, weights, u) != z_t
        assert not (moved & ~open_tokens).any()
    assert alpha_s < 1 or open_tokens.all()


def test_the_reverse_step_does_not_depend_on_the_pieces(monkeypatch):
    (hidden, weight, bias), z_t, _, _ = problem(37, shape=(20, 9))
    whole = fused_reverse_step(hidden, weight, bias, z_t, 0.9, 0.2, seeded())
    monkeypatch.setattr(_chunks, "ENTRIES", 37 * 7)
    assert torch.equal(whole, fused_reverse_step(hidden, weight, bias, z_t, 0.9, 0.2, seeded()))


def test_the_inverse_distribution_function_never_takes_what_has_no_probability():
    weights = torch.tensor([[0.0, 0.5, 0.0, 0.25, 0.0, 0.25, 0.0]]).expand(6, 7)
    share = torch.tensor([0.0, 0.49999, 0.5, 0.75, 1 - 2**-53, 1.0], dtype=torch.float64)
    assert step.inverse_cdf(weights, share).tolist() == [1, 1, 3, 5, 5, 5]


def test_a_reverse_step_names_bad_levels():
    (hidden, weight, bias), z_t, _, _ = problem(5)
    with pytest.raises(ValueError, match="alpha_t <= alpha_s"):
        fused_reverse_step(hidden, weight, bias, z_t, 0.2, 0.5)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("vocab_size, entries", [(2, 7), (50, 200), (3_000, 10_000)])
def test_entropy_and_sharpness_are_those_of_the_softmax(
    monkeypatch, worst, scale, vocab_size, entries
):
    monkeypatch.setattr(_chunks, "ENTRIES", entries)
    generator = torch.Generator().manual_seed(vocab_size)
    hidden = torch.randn(2, 9, 8, generator=generator)
    weight, bias = (
        scale * torch.randn(vocab_size, 8, generator=generator),
        torch.randn(vocab_size, generator=generator),
    )
    p = torch.nn.functional.linear(hidden.double(), weight.double(), bias.double()).softmax(-1)
    first, second = p.topk(2).values.unbind(-1)
    expected = torch.stack([torch.special.entr(p).sum(-1), (p * (1 - p)).sum(-1), first - second])
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        inputs = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
        actual = fused_sharpness(*inputs)
        assert actual.dtype == dtype and torch.equal(fused_entropy(*inputs), actual[0])
        worst(
            f"entropy, variance and gap from hidden states ({str(dtype)[6:]})",
            "softmax in float64",
            (actual - expected).abs().max(),
            bound,
        )


def test_sums_of_the_entropy_are_not_rounded_under_autocast(worst):
    hidden, (weight, bias) = (
        torch.randn(1, 9, 8, generator=seeded()),
        torch.randn(2, 2_000, 8, generator=seeded(1)),
    )
    bias = bias[:, 0]
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float() + bias
    expected = torch.special.entr(logits.double().softmax(-1)).sum(-1)
    with torch.autocast("cpu", torch.bfloat16):
        actual = fused_entropy(hidden, weight, bias)
    worst(
        "entropy under autocast",
        "softmax of logits from bfloat16",
        (actual - expected).abs().max(),
        2e-5,
    )
