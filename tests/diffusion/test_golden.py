"""Parity with a published implementation of uniform-state diffusion on seeded weights."""

import pytest
import torch

from helpers.compare import gap, relative_gap
from uddm_lib.checkpoints._network import released_name
from uddm_lib.diffusion import nelbo, posterior, reverse_step
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.probes import conditional_entropy
from uddm_lib.schedule import LogLinearSchedule, duality_alpha

REFERENCE = "reference vectors"
GAMMA_RANGE = 1.75  # of the curriculum, -3.5 to -1.75: the reference's derivative is along t
STEPS = ["mixed_f64", "steps_f64", "last_f64", "big_f64"]


@pytest.fixture(scope="module")
def model(golden):
    model = UDDM(
        UDDMConfig(vocab_size=37, length=12, hidden_size=32, cond_dim=16, n_blocks=2, n_heads=4)
    )
    model.load_state_dict(
        {name: golden[f"backbone.{released_name(name)}"] for name in model.state_dict()}
    )
    return model.eval()


class Answers:
    """A denoiser that gives the same logits, whatever it is asked."""

    def __init__(self, logits):
        self.logits, self.vocab_size = logits, logits.shape[-1]

    def denoise(self, z_t, sigma):
        return self.logits


def test_golden_logits(golden, model, worst):
    with torch.no_grad():
        actual = model.denoise(golden["xt"], golden["sigma"])
    worst("model, logits (float32)", REFERENCE, gap(actual, golden["logits"]), 2e-5)


def test_golden_logits_of_a_soft_input(golden, model, worst):
    def logits(weights, keep):
        top = weights.topk(keep)
        with torch.no_grad():
            return model(golden["xt"], golden["sigma"], (top.indices, top.values)).logits

    soft = golden["soft.x"].double()
    worst(
        "model, logits of a soft input (float32)",
        REFERENCE,
        gap(logits(soft.softmax(-1), 37), golden["soft.logits"]),
        2e-5,
    )
    sharp = (300 * soft).softmax(-1)  # as at tau = 1e-3, where few tokens matter
    worst(
        "model, logits of a soft input, 16 of 37 tokens kept (float32)",
        "all tokens",
        gap(logits(sharp, 16), logits(sharp, 37)),
        2e-5,
    )


def test_golden_schedule(golden, worst):
    schedule, t = LogLinearSchedule(), golden["t"].double()
    worst(
        "schedule, alpha",
        REFERENCE + " (float32)",
        gap(schedule.alpha(t), golden["alpha_t"][:, 0]),
        1e-7,
    )
    worst(
        "schedule, sigma, relative",
        REFERENCE + " (float32)",
        relative_gap(schedule.sigma(t), golden["sigma"]),
        2e-4,
    )


CASES = [("", "nll", "nll_f64"), ("nll2.", "nll2.nll", "nll2.nll_f64")]


@pytest.mark.parametrize("prefix, single, double", CASES)
def test_golden_nelbo(golden, worst, prefix, single, double):
    z_t, x, expected = golden["xt"], golden["x0"], golden[double]
    levels = [golden[f"{prefix}{name}"].double() for name in ("alpha_t", "dalpha_t")]
    actual = nelbo(golden["logits"].double(), z_t, x, *levels)
    worst(
        "NELBO in float64, relative", REFERENCE + " (float64)", relative_gap(actual, expected), 1e-6
    )
    actual = nelbo(golden["logits"], z_t, x, *levels)
    for row, same in [(row, same) for row in range(len(x)) for same in (True, False)]:
        part = (z_t[row] == x[row]) == same
        theirs = relative_gap(golden[single][row, part], expected[row, part])
        worst(
            "NELBO in float32, error over the reference's own",
            REFERENCE + " (float64), every alpha",
            relative_gap(actual[row, part], expected[row, part]) / theirs,
            1.0,
        )


def nelbo_gradient(golden, dtype):
    logits = golden["logits"].to(dtype, copy=True).requires_grad_()
    nelbo(
        logits, golden["xt"], golden["x0"], golden["alpha_t"].double(), golden["dalpha_t"].double()
    ).sum().backward()
    return logits.grad


def test_golden_nelbo_gradient(golden, worst):
    expected = golden["grad_logits_f64"]
    worst(
        "NELBO gradient in float64, relative",
        REFERENCE + " (float64)",
        relative_gap(nelbo_gradient(golden, torch.float64), expected, rows=True),
        1e-9,
    )
    actual = nelbo_gradient(golden, torch.float32)
    for row in range(len(expected)):
        ours, theirs = (
            relative_gap(gradient[[row]], expected[[row]], rows=True)
            for gradient in (actual, golden["grad_logits"])
        )
        worst(
            "NELBO gradient in float32, error over the reference's own",
            REFERENCE + " (float64), every alpha",
            ours / theirs,
            1.0,
        )


def test_golden_gradients_of_the_weights(golden, model, worst):
    """At middling alpha only: at its ends the reference's float32 loss is itself off."""
    model.zero_grad()
    logits = model(golden["xt"], golden["sigma"]).logits
    loss = nelbo(
        logits, golden["xt"], golden["x0"], golden["alpha_t"].double(), golden["dalpha_t"].double()
    )
    expected = golden["grad_mid.backbone.blocks.0.attn_qkv.weight"]
    (actual,) = torch.autograd.grad(loss[2].sum(), model.blocks[0].qkv.weight, retain_graph=True)
    worst(
        "weight gradient at alpha = 0.5 (float32), relative",
        REFERENCE + " (float32)",
        relative_gap(actual[None], expected[None], rows=True),
        1e-5,
    )
    loss.sum().backward()
    for name, parameter in model.named_parameters():
        expected = golden[f"grad.backbone.{released_name(name)}"]
        worst(
            "gradient of every weight (float32), relative",
            REFERENCE + " (float32)",
            relative_gap(parameter.grad[None], expected[None], rows=True),
            2e-4,
        )


@pytest.mark.parametrize("case", STEPS)
def test_golden_posterior_and_greedy_step(golden, worst, case):
    log_p, z_t = golden["log_p"].double(), golden["xt"]
    alpha_s, alpha_t, probs, argmax = (
        golden[f"posterior.{case}.{name}"] for name in ("alpha_s", "alpha_t", "probs", "argmax")
    )
    worst(
        "posterior",
        REFERENCE + " (float64)",
        gap(posterior(log_p.exp(), z_t, alpha_s, alpha_t), probs),
        1e-12,
    )
    actual = reverse_step(log_p, z_t, alpha_s, alpha_t, greedy=True)
    worst("greedy step, tokens that differ", REFERENCE, (actual != argmax).sum(), 0)


def test_golden_reverse_step_of_the_sampler(golden, model, worst):
    """A whole step, network included; float32 alphas cost the reference 1e-4 here."""
    alpha_s, alpha_t = golden["sampler.alpha_s"].double(), golden["sampler.alpha_t"].double()
    with torch.no_grad():
        logits = model.denoise(golden["xt"], -alpha_t.log())
    worst(
        "prediction in a sampler step",
        REFERENCE,
        gap(logits.double().softmax(-1), golden["sampler.p_x0"]),
        1e-5,
    )
    actual = posterior(logits.double().softmax(-1), golden["xt"], alpha_s, alpha_t)
    worst(
        "posterior in a sampler step",
        REFERENCE + " (float32 alphas)",
        gap(actual, golden["sampler.probs"]),
        2e-4,
    )
    greedy = reverse_step(logits, golden["xt"], alpha_s, alpha_t, greedy=True)
    worst(
        "greedy step, tokens that differ", REFERENCE, (greedy != golden["sampler.argmax"]).sum(), 0
    )


def test_golden_entropy(golden, worst):
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        actual = conditional_entropy(Answers(golden["logits"].to(dtype)), golden["x0"])
        worst(
            f"conditional entropy in {str(dtype)[6:]}",
            REFERENCE + " (float64)",
            gap(actual, golden["entropy_f64"]),
            bound,
        )


@pytest.mark.parametrize("tokenizer, vocab_size", [("bert", 30_522), ("gpt2", 50_257)])
def test_golden_duality(golden, worst, tokenizer, vocab_size):
    gamma = golden[f"duality.{tokenizer}.curriculum_f64.gamma"].clone().requires_grad_()
    alpha = duality_alpha(gamma, vocab_size)
    (slope,) = torch.autograd.grad(alpha.sum(), gamma)
    against = REFERENCE + " (quadrature)"
    worst(
        "duality alpha(gamma)",
        against,
        gap(alpha.detach(), golden[f"duality.{tokenizer}.exact.alpha"]),
        1e-7,
    )
    worst(
        "duality, derivative along t",
        against,
        gap(GAMMA_RANGE * slope, golden[f"duality.{tokenizer}.exact.dalpha"]),
        1e-7,
    )
