"""Pseudo-likelihood learning: loss and gradient, and training against a support vector machine."""

import math

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from helpers.memories import random_couplings, seeded
from uddm_lib.theory import hopfield, pseudo_likelihood
from uddm_lib.theory.patterns import random_patterns


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
def test_gradient_is_that_of_autograd(beta, worst):
    patterns = random_patterns(30, 20, seeded())
    couplings = random_couplings(20).requires_grad_()
    (expected,) = torch.autograd.grad(pseudo_likelihood.loss(couplings, patterns, beta), couplings)
    gradient = pseudo_likelihood.gradient(couplings.detach(), patterns, beta)
    assert not gradient.diagonal().any()
    worst(
        "pseudo-likelihood gradient",
        "autograd",
        (gradient - expected.fill_diagonal_(0)).abs().max(),
        1e-10,
    )


def test_loss_is_the_conditional_likelihood_summed_over_neurons(worst):
    patterns, couplings = random_patterns(7, 9, seeded()), random_couplings(9)
    total = 0.0
    for state in patterns.tolist():
        for i, own in enumerate(state):
            field = sum(couplings[i, j].item() * state[j] for j in range(9) if j != i)
            total += math.log1p(math.exp(-2 * 0.7 * own * field))
    worst(
        "pseudo-likelihood loss",
        "a loop",
        abs(pseudo_likelihood.loss(couplings, patterns, 0.7).item() - total),
        1e-10,
    )
    p_up = hopfield.conditional(couplings, patterns, 0.7)
    likelihood = torch.where(patterns > 0, p_up, 1 - p_up).log().sum().item()
    worst("pseudo-likelihood loss", "conditional", abs(likelihood + total), 1e-10)


def test_gradient_is_a_hebbian_term_times_the_margin_factor(worst):
    patterns, couplings = random_patterns(12, 15, seeded()), random_couplings(15)
    factor = pseudo_likelihood.margin_factor(couplings, patterns, 0.5)
    hebbian = torch.einsum("pi,pj->pij", patterns, patterns)
    expected = -(hebbian * factor[:, :, None]).sum(0).fill_diagonal_(0)
    worst(
        "gradient",
        "its decomposition",
        (pseudo_likelihood.gradient(couplings, patterns, 0.5) - expected).abs().max(),
        1e-10,
    )
    weights = pseudo_likelihood.pattern_weights(couplings, patterns, 0.5)
    worst("pattern weights", "factors", (weights - factor / factor.sum(0)).abs().max(), 1e-10)
    # Without couplings all factors are 1/2, and the gradient is Hebb's rule.
    at_zero = pseudo_likelihood.gradient(torch.zeros_like(couplings), patterns)
    worst(
        "gradient at J = 0",
        "Hebbian couplings",
        (at_zero + 15 * hopfield.hebb(patterns)).abs().max(),
        1e-10,
    )


def largest_margins(patterns):
    """Maximum margin of every neuron by libsvm, and the worst gap of primal and dual solutions.

    Every point also enters mirrored, with the other label: by symmetry the intercept is then zero,
    as for neurons without a bias.
    """
    largest, gaps = [], []
    for i in range(patterns.shape[1]):
        points = (patterns * patterns[:, i : i + 1]).numpy()
        points[:, i] = 0
        machine = SVC(kernel="linear", C=1e8, tol=1e-6)
        machine.fit(np.concatenate([points, -points]), np.repeat([1, -1], len(points)))
        row = machine.coef_[0]
        largest.append((points @ row).min() / np.linalg.norm(row))
        gaps.append(abs(1 / largest[-1] ** 2 / np.abs(machine.dual_coef_).sum() - 1))
    return np.array(largest), max(gaps)


@pytest.mark.parametrize("size, load", [(100, 0.1), (100, 0.5), (60, 1.0)])
def test_training_reaches_the_largest_margin(size, load, worst):
    patterns = random_patterns(round(load * size), size, seeded(3))
    couplings = pseudo_likelihood.train(patterns)
    assert hopfield.stable(couplings, patterns).all()
    expected, gap = largest_margins(patterns)
    assert gap < 1e-4, "the support vector machine itself has not converged"
    smallest = hopfield.margins(couplings, patterns).amin(0).numpy()
    assert (smallest >= 0.95 * expected).all()
    worst("margin of each neuron", "its maximum", (smallest / expected).max() - 1, 1e-5)


def test_training_beyond_capacity_ends_at_the_minimum(worst):
    patterns = random_patterns(200, 40, seeded())
    couplings = pseudo_likelihood.train(patterns, beta=0.5)
    assert not hopfield.stable(couplings, patterns).any()
    slope = pseudo_likelihood.gradient(couplings, patterns, 0.5).abs().max()
    worst("gradient at the minimum, per pattern", "zero", slope / len(patterns), 1e-8)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x, j: pseudo_likelihood.train(x.long()), "torch.int64"),
        (lambda x, j: pseudo_likelihood.train(x, steps=0), "steps=0 is not a positive integer"),
        (
            lambda x, j: pseudo_likelihood.train(x, rate=0),
            "rate=0 is not allowed",
        ),
        (lambda x, j: pseudo_likelihood.loss(j, x, beta=-1), "beta=-1"),
        (lambda x, j: pseudo_likelihood.loss(j + 1, x), "J_ii must be 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(random_patterns(4, 6, seeded()), random_couplings(6))
