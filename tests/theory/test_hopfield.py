"""The binary associative memory: gradient, margins against a support vector machine, dynamics, capacity, recovery."""

import math

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from uddm_lib.theory import hopfield, memory_experiments


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_couplings(size, seed=1):
    return torch.randn(size, size, generator=seeded(seed), dtype=torch.float64).fill_diagonal_(0)


def largest_margins(patterns):
    """Maximum margin of every neuron by libsvm, and the worst relative gap between its primal and dual solutions.

    Every point also enters mirrored, with the other label: by symmetry the intercept is then zero, as for neurons
    without a bias.
    """
    found, gaps = [], []
    for i in range(patterns.shape[1]):
        points = (patterns * patterns[:, i : i + 1]).numpy()
        points[:, i] = 0
        machine = SVC(kernel="linear", C=1e8, tol=1e-6)
        machine.fit(np.concatenate([points, -points]), np.repeat([1, -1], len(points)))
        row = machine.coef_[0]
        found.append((points @ row).min() / np.linalg.norm(row))
        gaps.append(abs(1 / found[-1] ** 2 / np.abs(machine.dual_coef_).sum() - 1))
    return np.array(found), max(gaps)


@pytest.mark.parametrize("beta", [0.3, 1.0, 4.0])
def test_hopfield_gradient_is_that_of_autograd(beta, worst):
    patterns, couplings = (
        hopfield.random_patterns(30, 20, seeded()),
        random_couplings(20).requires_grad_(),
    )
    (expected,) = torch.autograd.grad(hopfield.loss(couplings, patterns, beta), couplings)
    found = hopfield.gradient(couplings.detach(), patterns, beta)
    assert not found.diagonal().any()
    worst(
        "pseudo-likelihood gradient",
        "autograd",
        (found - expected.fill_diagonal_(0)).abs().max(),
        1e-10,
    )


def test_hopfield_loss_is_the_conditional_likelihood_summed_over_neurons(worst):
    patterns, couplings = hopfield.random_patterns(7, 9, seeded()), random_couplings(9)
    total = 0.0
    for state in patterns.tolist():
        for i, own in enumerate(state):
            field = sum(couplings[i, j].item() * state[j] for j in range(9) if j != i)
            total += math.log1p(math.exp(-2 * 0.7 * own * field))
    worst(
        "pseudo-likelihood loss",
        "a loop",
        abs(hopfield.loss(couplings, patterns, 0.7).item() - total),
        1e-10,
    )
    p_up = hopfield.conditional(couplings, patterns, 0.7)
    likelihood = torch.where(patterns > 0, p_up, 1 - p_up).log().sum().item()
    worst("pseudo-likelihood loss", "conditional", abs(likelihood + total), 1e-10)


def test_hopfield_gradient_is_a_hebbian_term_times_the_margin_factor(worst):
    patterns, couplings = hopfield.random_patterns(12, 15, seeded()), random_couplings(15)
    factor = hopfield.margin_factor(couplings, patterns, 0.5)
    hebbian = torch.einsum("pi,pj->pij", patterns, patterns)
    expected = -(hebbian * factor[:, :, None]).sum(0).fill_diagonal_(0)
    worst(
        "gradient",
        "its decomposition",
        (hopfield.gradient(couplings, patterns, 0.5) - expected).abs().max(),
        1e-10,
    )
    weights = hopfield.pattern_weights(couplings, patterns, 0.5)
    worst("pattern weights", "factors", (weights - factor / factor.sum(0)).abs().max(), 1e-10)
    # Without couplings all factors are 1/2, and the gradient is Hebb's rule.
    at_zero = hopfield.gradient(torch.zeros_like(couplings), patterns)
    worst(
        "gradient at J = 0",
        "Hebbian couplings",
        (at_zero + 15 * hopfield.hebb(patterns)).abs().max(),
        1e-10,
    )


@pytest.mark.parametrize("size, load", [(100, 0.1), (100, 0.5), (60, 1.0)])
def test_hopfield_training_reaches_the_largest_margin(size, load, worst):
    patterns = hopfield.random_patterns(round(load * size), size, seeded(3))
    couplings = hopfield.train(patterns)
    assert hopfield.stable(couplings, patterns).all()
    expected, gap = largest_margins(patterns)
    assert gap < 1e-4, "the support vector machine itself has not converged"
    found = hopfield.margins(couplings, patterns)
    assert found.min() >= 0.95 * expected.min()
    assert (found.amin(0).numpy() >= 0.95 * expected).all()
    worst(
        "margin of each neuron", "its maximum", (found.amin(0).numpy() / expected).max() - 1, 1e-5
    )


def test_hopfield_training_beyond_capacity_ends_at_the_minimum(worst):
    patterns = hopfield.random_patterns(200, 40, seeded())
    couplings = hopfield.train(patterns, beta=0.5)
    assert not hopfield.stable(couplings, patterns).any()
    slope = hopfield.gradient(couplings, patterns, 0.5).abs().max()
    worst("gradient at the minimum, per pattern", "zero", slope / len(patterns), 1e-8)


def test_hopfield_margins_grow_to_their_largest_value_during_training():
    patterns = hopfield.random_patterns(40, 80, seeded(1))
    summary, margins = memory_experiments.course(patterns, [0, 1, 10, 100, 400])
    assert summary["step"].tolist() == [0, 1, 10, 100, 400] and len(margins) == 5 * 40 * 80
    assert (
        summary["loss"][0] == pytest.approx(math.log(2)) and summary["loss"].is_monotonic_decreasing
    )
    assert summary["cosine"][0] == pytest.approx(1) and summary["patterns"][0] == pytest.approx(40)
    assert summary["cosine"].iloc[-1] < 0.95 and summary["patterns"].iloc[-1] < 35
    smallest = margins.groupby("step")["margin"].min()
    assert (
        smallest.tolist() == summary["smallest"].tolist()
        and smallest[10] < smallest[100] < smallest[400]
    )
    # The mean over neurons is close to the theory of N -> infinity (here within a few per cent at N = 80).
    rows = margins[margins["step"] == 400].groupby("neuron")["margin"].min()
    assert rows.mean() == pytest.approx(hopfield.gardner_margin(0.5), rel=0.05)
    steps, states = zip(*hopfield.descent(patterns, [400]))
    assert steps == (400,) and torch.equal(states[0], hopfield.train(patterns, 400))


def test_hopfield_theory_of_random_patterns():
    assert hopfield.gardner_margin(2) == pytest.approx(0, abs=1e-12)
    assert (
        hopfield.gardner_margin(0.5) > hopfield.gardner_margin(1) > 0 > hopfield.gardner_margin(3)
    )
    kappa, t = hopfield.gardner_margin(0.8), torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    area = torch.trapezoid(
        (t + kappa).clamp(min=0) ** 2 * torch.exp(-t * t / 2) / math.sqrt(2 * math.pi), t
    )
    assert area.item() == pytest.approx(1 / 0.8, rel=1e-6)
    assert hopfield.cover_probability(200, 100) == 0.5 and hopfield.cover_probability(99, 99) == 1
    # Three points in the plane: all 8 labellings but the 2 that put the middle one on the far side.
    assert hopfield.cover_probability(3, 2) == 0.75


def test_hopfield_dynamics_ends_in_fixed_points_and_cycles():
    patterns = hopfield.random_patterns(5, 120, seeded())
    start = hopfield.corrupt(patterns, 0.2, seeded(1))
    assert ((start != patterns).sum(1) == 24).all()
    for parallel in (True, False):
        assert torch.equal(
            hopfield.retrieve(hopfield.hebb(patterns), start, parallel=parallel), patterns
        )
    pair = torch.tensor([[0.0, 1], [1, 0]], dtype=torch.float64)
    state = torch.tensor([[1.0, -1]], dtype=torch.float64)
    assert torch.equal(hopfield.retrieve(pair, state), state), "a 2-cycle ends where it began"
    assert hopfield.stable(pair, hopfield.retrieve(pair, state, parallel=False)).all()
    # Ties keep the state.
    assert hopfield.stable(torch.zeros_like(pair), state).all()
    # The result for a state does not depend on the others in the batch.
    chaotic, many = random_couplings(30), hopfield.random_patterns(20, 30, seeded(2))
    together = hopfield.retrieve(chaotic, many)
    assert torch.equal(together, torch.cat([hopfield.retrieve(chaotic, one[None]) for one in many]))


@pytest.mark.parametrize("beta", [0.4, 1.0])
def test_hopfield_sequential_sampling_has_the_boltzmann_law(beta):
    teacher, draws = hopfield.spin_glass(4, seeded(5)), 40_000
    states = torch.cartesian_prod(*[torch.tensor([-1.0, 1], dtype=torch.float64)] * 4)
    law = (beta / 2 * torch.einsum("pi,ij,pj->p", states, teacher, states)).softmax(0)
    found = hopfield.spin_glass_examples(draws, teacher, beta, sweeps=20, generator=seeded())
    codes = ((found > 0) * torch.tensor([8, 4, 2, 1])).sum(1)
    counts = torch.bincount(codes, minlength=16)
    chi = ((counts - draws * law) ** 2 / (draws * law)).sum().item()
    assert chi < 37.7, "chi-square with 15 degrees of freedom, exceeded once in 1000"


def test_hopfield_parallel_sampling_has_the_conditional_law():
    couplings, start = random_couplings(6), hopfield.random_patterns(1, 6, seeded())
    found = hopfield.sample(
        couplings, start.expand(20_000, -1), 0.5, parallel=True, generator=seeded(1)
    )
    p_up = hopfield.conditional(couplings, start, 0.5)[0]
    spread = (p_up * (1 - p_up) / 20_000).sqrt()
    assert (((found > 0).double().mean(0) - p_up).abs() < 4 * spread).all()
    again = hopfield.sample(
        couplings, start.expand(20_000, -1), 0.5, parallel=True, generator=seeded(1)
    )
    assert torch.equal(found, again)
    cold = hopfield.sample(couplings, start, 1e6, parallel=True, generator=seeded(1))
    assert torch.equal(cold, (start @ couplings.T).sign()), (
        "the limit of large beta is the deterministic update"
    )


def test_hopfield_recovery_counts_flipped_bits_that_come_back():
    patterns = hopfield.random_patterns(6, 120, seeded())
    still = hopfield.recovery(
        torch.zeros(120, 120, dtype=torch.float64), patterns, 0.25, generator=seeded(1)
    )
    assert (
        (still["corrupted"] == 30).all()
        and (still["recovered"] == 0).all()
        and (still["unstable"] == 0).all()
    )
    assert (still["overlap"] == 0.5).all() and (still["exact"] == 0).all()
    back = hopfield.recovery(hopfield.train(patterns), patterns, 0.25, generator=seeded(1))
    assert (
        (back["recovered"] == 1).all()
        and (back["overlap"] == 1).all()
        and (back["exact"] == 1).all()
    )
    assert hopfield.recovery(hopfield.hebb(patterns), patterns, 0)["recovered"].isna().all()


def test_hopfield_pseudo_likelihood_basins_are_larger_than_hebbian_ones():
    table = memory_experiments.basins([0.1], [0.3, 0.35], size=150, samples=16, steps=100)
    mean = table.pivot_table(
        index=["sample", "share"], columns="rule", values="overlap"
    ).reset_index()
    for _, rows in mean.groupby("share"):
        gain = rows["pseudo-likelihood"] - rows["hebbian"]
        # 3.73 is Student's t of 15 degrees of freedom at a one-sided error of 0.1 %.
        assert gain.mean() > 3.73 * gain.std() / math.sqrt(16), (
            "larger overlap, with 99.9 % confidence"
        )


def test_hopfield_capacity_of_pseudo_likelihood_lies_below_two():
    table = memory_experiments.capacity(
        [1.2, 1.4, 2.4], size=80, rules=["pseudo-likelihood"]
    ).set_index("load")
    assert table["stable"][1.2] == table["stable"][1.4] == 1 and table["stable"][2.4] == 0
    for load in table.index:
        chance = hopfield.cover_probability(round(load * 80), 79)
        assert (
            table["separated"][load] <= chance + 3 * math.sqrt(chance * (1 - chance) / 80) + 1e-12
        )


@pytest.mark.slow
def test_hopfield_hebbian_capacity_transition():
    loads = [0.1, 0.12, 0.13, 0.14, 0.15, 0.16, 0.18]
    table = memory_experiments.capacity(loads, size=1_000, samples=4, rules=["hebbian"])
    table = table.groupby("load")[["stable", "retrieved"]].mean()
    retrieved = table["retrieved"].to_numpy()
    half = np.interp(-0.5, -retrieved, loads)
    assert (np.diff(retrieved) < 0).all() and 0.12 < half < 0.16, (
        f"half of the patterns are retrieved at {half:.3f}"
    )
    assert table["stable"][0.12] < 0.3 < 0.9 < retrieved[1], (
        "a retrieval state has errors long before the transition"
    )


def test_hopfield_generalization_from_hidden_features():
    features = hopfield.random_patterns(12, 100, seeded())
    examples = hopfield.feature_examples(50, features, 3, seeded(1))
    assert ((examples @ torch.linalg.pinv(features)).abs() > 0.1).any() and set(
        examples.unique().tolist()
    ) == {-1, 1}
    table = memory_experiments.generalization(
        lambda n, g: hopfield.feature_examples(n, features, 3, g),
        [8, 512],
        unseen=80,
        probes={"features": features},
        reference=hopfield.projector(features),
    )
    assert len(table) == 2 * (2 * (80 + 12) + 80) + 3 * (8 + 80)
    rate = table.groupby(["rule", "P", "group"])["recovered"].mean()["pseudo-likelihood"]
    assert rate[8, "stored"] == 1 and rate[8, "unseen"] < 0.7, "memorization"
    assert rate[512, "unseen"] > 0.75 and rate[8, "stored"] - rate[512, "stored"] > 0.05, (
        "generalization"
    )
    assert (
        rate[512, "stored"] - rate[512, "unseen"]
        < 0.15
        < 0.3
        < rate[8, "stored"] - rate[8, "unseen"]
    ), "they meet"
    assert rate[512, "features"] > 0.95


def test_hopfield_student_meets_its_teacher():
    teacher = hopfield.spin_glass(24, seeded())
    table = memory_experiments.generalization(
        lambda n, g: hopfield.spin_glass_examples(n, teacher, 1.0, 20, g),
        [4, 2000],
        reference=teacher,
        parallel=False,
        unseen=150,
        rules=["pseudo-likelihood"],
    )
    overlap = table.groupby(["rule", "P", "group"])["overlap"].mean()
    student, limit = overlap["pseudo-likelihood"], overlap["reference"]
    assert student[4, "stored"] == 1 and student[4, "unseen"] < limit[4, "unseen"] - 0.05
    for group in ("stored", "unseen"):
        assert abs(student[2000, group] - limit[2000, group]) < 0.05


def test_hopfield_experiments_are_reproducible():
    one, two = (
        memory_experiments.basins([0.1], [0.2], size=40, steps=20, seed=4) for _ in range(2)
    )
    assert one.equals(two)
    assert not one.equals(memory_experiments.basins([0.1], [0.2], size=40, steps=20, seed=5))


@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda x, j: hopfield.hebb(x + 1),
            r"patterns must be a floating-point tensor \(P, N\) of -1 and \+1",
        ),
        (lambda x, j: hopfield.train(x.long()), "torch.int64"),
        (lambda x, j: hopfield.train(x, steps=0), "steps=0 is not allowed; it must be above 0"),
        (lambda x, j: hopfield.loss(j, x, beta=-1), "beta=-1"),
        (lambda x, j: hopfield.loss(j + 1, x), "J_ii must be 0"),
        (
            lambda x, j: hopfield.loss(j.float(), x),
            "couplings is torch.float32 but the states are torch.float64",
        ),
        (lambda x, j: hopfield.margins(j[1:], x), r"couplings has shape \(5, 6\)"),
        (lambda x, j: hopfield.retrieve(j, x, steps=3), "steps=3 is not allowed; it must be even"),
        (lambda x, j: hopfield.corrupt(x, 1.5), r"share=1.5 is outside \[0, 1\]"),
        (
            lambda x, j: hopfield.feature_examples(3, x, active=2),
            "active=2 is not allowed; it must be odd",
        ),
        (lambda x, j: hopfield.random_patterns(0, 5), "count=0"),
        (lambda x, j: hopfield.gardner_margin(0), "load=0"),
        (lambda x, j: memory_experiments.basins([0], [0.1]), "load=0"),
        (
            lambda x, j: memory_experiments.capacity([1], rules=["storkey"]),
            "rules holds 'storkey'; allowed are hebbian, pseudo",
        ),
        (
            lambda x, j: memory_experiments.generalization(lambda n, g: x[:1].expand(n, -1), [4]),
            "counts holds 4",
        ),
    ],
)
def test_hopfield_says_what_is_wrong(call, words):
    with pytest.raises(ValueError, match=words):
        call(hopfield.random_patterns(4, 6, seeded()), random_couplings(6))
