"""The loss without (B, L, V) tensors, against the readable form."""

import itertools

import pytest
import torch

from helpers.compare import relative_gap
from helpers.problems import network, problem, seeded
from uddm_lib.diffusion import (
    _chunks,
    _terms,
    fused_loss,
    fused_nelbo,
    nelbo,
)
from uddm_lib.training.objective import Objective

NAMES = ("value", "hidden", "weight", "bias")


def readable(hidden, weight, bias, *rest):
    return nelbo(torch.nn.functional.linear(hidden, weight, bias), *rest)


def with_gradients(loss, layer, scale, *rest):
    """Values per token and gradients of their weighted sum; ``fused_loss`` gives only the sum."""
    leaves = [part.clone().requires_grad_() for part in layer]
    if loss is fused_loss:
        value = total = fused_loss(*leaves, *rest, scale=scale)
    else:
        value = loss(*leaves, *rest)
        total = (value * scale).sum()
    total.backward()
    return value.detach(), *(leaf.grad for leaf in leaves)


def distance(actual, expected):
    """Relative to the size of the whole tensor."""
    return ((actual.double() - expected).norm() / expected.norm()).item()


@pytest.fixture
def few(monkeypatch):
    """Logits for a few tokens at a time, in pieces that do not divide their number."""
    monkeypatch.setattr(_terms, "_CACHED", 0)
    monkeypatch.setattr(
        _chunks,
        "pieces",
        lambda rows, vocab_size: [slice(i, i + 4) for i in range(0, len(rows), 4)],
    )


@pytest.mark.parametrize("vocab_size", [2, 3, 37, 30_522])
@pytest.mark.parametrize("alpha", [1e-3, 0.3, 0.999])
@pytest.mark.parametrize("loss", [fused_nelbo, fused_loss])
def test_fused_nelbo_is_the_readable_one(vocab_size, alpha, loss, request, worst):
    """Values (of ``fused_loss`` their sum) and every gradient, in float64 and in float32."""
    # At a large V, sums over it of products with four rows have larger errors by themselves.
    if vocab_size < 1000:
        request.getfixturevalue("few")
    layer, z_t, x, scale = problem(vocab_size)
    rest = scale, z_t, x, torch.tensor([alpha, alpha]), -0.999
    for dtype, bound in ((torch.float64, 2e-12), (torch.float32, 1e-6)):
        inputs = [part.to(dtype) for part in layer]
        expected, actual = (
            with_gradients(readable, inputs, *rest),
            with_gradients(loss, inputs, *rest),
        )
        if loss is fused_loss:
            expected = (expected[0] * scale).sum(), *expected[1:]
        for name, ours, readably in zip(NAMES, actual, expected):
            worst(
                f"fused NELBO in {str(dtype)[6:]}, {name}, relative",
                "readable form, same inputs",
                distance(ours, readably.double()),
                bound,
            )


@pytest.mark.parametrize(
    "vocab_size, alpha", list(itertools.product([5, 5000], [1e-3, 0.3, 0.999]))
)
def test_fused_nelbo_of_confident_predictions(vocab_size, alpha, worst):
    """At probabilities of 1 - 1e-12 and more, right or wrong, no digit is lost."""
    layer, z_t, x, scale = problem(vocab_size, size=3.0)
    rest = scale, z_t, x, alpha, -0.999
    exact = with_gradients(readable, [part.double() for part in layer], *rest)
    actual, theirs = (with_gradients(loss, layer, *rest) for loss in (fused_nelbo, readable))
    for name, expected, ours, plain in zip(NAMES, exact, actual, theirs):
        worst(
            f"fused NELBO, confident, float32, {name}, error over 1e-6 or the readable form's own",
            "readable form (float64)",
            distance(ours, expected) / max(1e-6, 1.5 * distance(plain, expected)),
            1,
        )


def test_fused_nelbo_differentiates_numerically(few):
    layer, z_t, x, _ = problem(5, shape=(1, 6), width=3)
    layer = [part.double().requires_grad_() for part in layer]
    assert torch.autograd.gradcheck(
        lambda *leaves: fused_nelbo(*leaves, z_t, x, 0.4, -0.999), layer
    )


@pytest.mark.parametrize("loss", [fused_nelbo, fused_loss])
@pytest.mark.parametrize(
    "needed", [needed for needed in itertools.product([False, True], repeat=3) if any(needed)]
)
def test_only_the_gradients_asked_for_are_formed(loss, needed):
    layer, z_t, x, _ = problem(11)
    whole = [part.clone().requires_grad_() for part in layer]
    some = [part.clone().requires_grad_(need) for part, need in zip(layer, needed)]
    for leaves in (whole, some):
        loss(*leaves, z_t, x, 0.5, -0.999).sum().backward()
    for part, expected, need in zip(some, whole, needed):
        assert torch.equal(part.grad, expected.grad) if need else part.grad is None


def test_without_gradients_and_without_a_bias():
    (hidden, weight, bias), z_t, x, _ = problem(11)
    with torch.no_grad():
        values = fused_nelbo(hidden, weight, bias, z_t, x, 0.5, -0.999)
        assert torch.equal(
            values, fused_nelbo(hidden.requires_grad_(), weight, bias, z_t, x, 0.5, -0.999)
        )
        torch.testing.assert_close(
            fused_loss(hidden, weight, bias, z_t, x, 0.5, -0.999), values.mean()
        )
    without = fused_nelbo(hidden, weight, None, z_t, x, 0.5, -0.999)
    without.sum().backward()
    torch.testing.assert_close(
        without, nelbo(hidden @ weight.T, z_t, x, 0.5, -0.999), rtol=1e-5, atol=1e-6
    )


def test_weights_of_zero_mask_tokens():
    layer, z_t, x, _ = problem(7)
    scale = torch.zeros(x.shape)
    scale[0, :3] = 1
    masked = with_gradients(fused_loss, layer, scale, z_t, x, 0.5, -0.999)
    alone = with_gradients(
        fused_loss,
        [layer[0][:1, :3], *layer[1:]],
        torch.ones(1, 3),
        z_t[:1, :3],
        x[:1, :3],
        0.5,
        -0.999,
    )
    assert masked[1][0, 3:].abs().max() == 0 == masked[1][1].abs().max()
    for actual, expected in zip((masked[0], masked[1][:1, :3], *masked[2:]), alone):
        torch.testing.assert_close(actual, expected)


def test_levels_per_sequence_and_per_token():
    layer, z_t, x, _ = problem(7)
    alpha = torch.tensor([0.2, 0.7], dtype=torch.float64)
    for levels in (
        (alpha, -alpha),
        (alpha[:, None], -alpha[:, None]),
        (alpha[:, None].expand(2, 9), -alpha[:, None].expand(2, 9)),
    ):
        torch.testing.assert_close(
            fused_nelbo(*layer, z_t, x, *levels),
            readable(*layer, z_t, x, *levels),
            rtol=1e-5,
            atol=1e-6,
        )


def test_alpha_next_to_one(worst):
    layer, z_t, x, _ = problem(64, size=0.0)
    alpha = 1 - 1e-12
    actual = fused_nelbo(*layer, z_t, x, alpha, -1.0)
    expected = readable(*[part.double() for part in layer], z_t, x, alpha, -1.0)
    worst(
        "fused NELBO at alpha = 1 - 1e-12, relative",
        "readable form (float64)",
        distance(actual, expected),
        1e-5,
    )


def test_gradients_are_handed_out_once():
    layer, z_t, x, _ = problem(7)
    loss = fused_loss(layer[0].requires_grad_(), *layer[1:], z_t, x, 0.5, -0.999)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already handed out"):
        loss.backward()


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_fused_nelbo_refuses_the_ends(alpha):
    layer, z_t, x, _ = problem(7)
    with pytest.raises(
        ValueError, match=f"alpha_t holds {alpha:g} to {alpha:g}; allowed is 0 < alpha_t < 1"
    ):
        fused_nelbo(*layer, z_t, x, alpha, -0.999)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_products(autocast, worst):
    """Inputs in bfloat16, or float32 under autocast: only rounding of bfloat16, gradients alike."""
    layer, z_t, x, scale = problem(2000)
    rounded = [part.bfloat16() for part in layer]
    exact = with_gradients(
        readable, [part.double() for part in rounded], scale, z_t, x, 0.3, -0.999
    )
    inputs = [part.float() for part in rounded] if autocast else rounded
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        actual = with_gradients(fused_nelbo, inputs, scale, z_t, x, 0.3, -0.999)
    assert [part.dtype for part in actual] == [torch.float32] + [part.dtype for part in inputs]
    for name, ours, expected in zip(NAMES, actual, exact):
        worst(
            f"fused NELBO, bfloat16 products, {name}, relative",
            "readable form (float64)",
            distance(ours, expected),
            1e-2,
        )


def test_the_training_objective_is_the_weighted_nelbo():
    model = network()
    z_t, x = torch.randint(3, (2, 4, 2), generator=seeded())
    alpha = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    dalpha = torch.full_like(alpha, -0.999)
    loss = Objective(model)(z_t, x, alpha, dalpha, scale, None)
    logits = model(z_t, -alpha.log().float()).logits
    expected = (scale[:, None] * nelbo(logits, z_t, x, alpha, -0.999)).sum()
    assert relative_gap(loss.detach(), expected.detach()) < 1e-6
