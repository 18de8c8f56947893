"""The loss and the reverse step without (B, L, V), against the readable forms and exact laws."""

import itertools

import pytest
import torch

from helpers.compare import chi_square, relative_gap
from uddm_lib.diffusion import (
    _chunks,
    _levels,
    _terms,
    fused_entropy,
    fused_loss,
    fused_mode,
    fused_nelbo,
    fused_reverse_step,
    fused_sharpness,
    nelbo,
    posterior,
    reverse_step,
    step,
    step_from_hidden,
    undecided,
)
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.sampling import T_END, generate, restore

NAMES = ("value", "hidden", "weight", "bias")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def problem(vocab_size, size=0.3, shape=(2, 9), width=24, seed=0):
    """Hidden states, output layer, tokens (half of them kept) and their weights in a loss."""

    def normal(*shape):
        return torch.randn(shape, generator=seeded(seed + len(shape)))

    x, noise = torch.randint(vocab_size, (2, *shape), generator=seeded(seed))
    z_t = torch.where(torch.rand(shape, generator=seeded(seed + 1)) < 0.5, x, noise)
    layer = normal(*shape, width), size * normal(vocab_size, width), size * normal(vocab_size)
    return layer, z_t, x, torch.rand(shape, generator=seeded(seed + 2), dtype=torch.float64)


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


def distance(found, expected):
    """Relative to the size of the whole tensor."""
    return ((found.double() - expected).norm() / expected.norm()).item()


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
        given = [part.to(dtype) for part in layer]
        expected, found = with_gradients(readable, given, *rest), with_gradients(loss, given, *rest)
        if loss is fused_loss:
            expected = (expected[0] * scale).sum(), *expected[1:]
        for name, ours, readably in zip(NAMES, found, expected):
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
    found, theirs = (with_gradients(loss, layer, *rest) for loss in (fused_nelbo, readable))
    for name, expected, ours, plain in zip(NAMES, exact, found, theirs):
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
    for found, expected in zip((masked[0], masked[1][:1, :3], *masked[2:]), alone):
        torch.testing.assert_close(found, expected)


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
    found = fused_nelbo(*layer, z_t, x, alpha, -1.0)
    expected = readable(*[part.double() for part in layer], z_t, x, alpha, -1.0)
    worst(
        "fused NELBO at alpha = 1 - 1e-12, relative",
        "readable form (float64)",
        distance(found, expected),
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
    given = [part.float() for part in rounded] if autocast else rounded
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = with_gradients(fused_nelbo, given, scale, z_t, x, 0.3, -0.999)
    assert [part.dtype for part in found] == [torch.float32] + [part.dtype for part in given]
    for name, ours, expected in zip(NAMES, found, exact):
        worst(
            f"fused NELBO, bfloat16 products, {name}, relative",
            "readable form (float64)",
            distance(ours, expected),
            1e-2,
        )


# Reverse step


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
    assert step._inverse_cdf(weights, share).tolist() == [1, 1, 3, 5, 5, 5]


def test_a_reverse_step_names_bad_levels():
    (hidden, weight, bias), z_t, _, _ = problem(5)
    with pytest.raises(ValueError, match="alpha_t <= alpha_s"):
        fused_reverse_step(hidden, weight, bias, z_t, 0.2, 0.5)


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


def test_sampling_of_a_network_follows_its_logits(worst):
    """Whole generations, in which most sequences are left out of most calls of the network."""
    model, n = network(), 20_000
    counts = [
        torch.bincount(
            generate(
                denoiser, n, 2, steps=10, generator=seeded(i), batch_size=n, final_greedy=False
            )
            @ torch.tensor([3, 1]),
            minlength=9,
        )
        for i, denoiser in enumerate((model, Logits(model)))
    ]
    both = torch.stack(counts).double()
    # Two samples: under one law (a - b)^2 / (a + b) sums to a chi-square.
    statistic = ((both[0] - both[1]) ** 2 / both.sum(0)).sum().item()
    worst(
        "generation by a network, chi-square of two samples over 8",
        "the same from its logits",
        statistic / 8,
        4,
    )


@pytest.mark.parametrize("start_t", [1.0, 0.3])
def test_greedy_restoration_of_a_network_follows_its_logits(start_t):
    model = network()
    z_t = torch.randint(3, (50, 2), generator=seeded())
    ends = [
        restore(denoiser, z_t, start_t, steps=4, greedy=True) for denoiser in (model, Logits(model))
    ]
    assert torch.equal(*ends)


def test_most_calls_of_the_network_are_spared():
    model, asked = network(), []
    hidden = model.hidden
    model.hidden = lambda z_t, sigma: asked.append(len(z_t)) or hidden(z_t, sigma)
    restore(model, torch.zeros(100, 2, dtype=torch.long), 0.5, steps=500, generator=seeded())
    assert sum(asked) < 0.1 * 100 * 251 and asked[-1] == 100 and T_END < 1e-4


def test_the_training_objective_is_the_weighted_nelbo():
    from uddm_lib.training.objective import Objective

    model = network()
    z_t, x = torch.randint(3, (2, 4, 2), generator=seeded())
    alpha = torch.tensor([0.2, 0.4, 0.6, 0.8], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.5, 2.0, 1.0], dtype=torch.float64)
    loss = Objective(model)(z_t, x, alpha, torch.full_like(alpha, -0.999), scale, None)
    logits = model(z_t, -alpha.log().float()).logits
    expected = (scale[:, None] * nelbo(logits, z_t, x, alpha, -0.999)).sum()
    assert relative_gap(loss.detach(), expected.detach()) < 1e-6


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
        given = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
        found = fused_sharpness(*given)
        assert found.dtype == dtype and torch.equal(fused_entropy(*given), found[0])
        worst(
            f"entropy, variance and gap from hidden states ({str(dtype)[6:]})",
            "softmax in float64",
            (found - expected).abs().max(),
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
        found = fused_entropy(hidden, weight, bias)
    worst(
        "entropy under autocast",
        "softmax of logits from bfloat16",
        (found - expected).abs().max(),
        2e-5,
    )
