"""Sampling, probes and audits under hybrid noise, by a memory that is exact there."""

import math

import pytest
import torch

from helpers.problems import seeded
from uddm_lib import denoiser, probes, sampling
from uddm_lib.audit.generated import generated_by, measures_of, read
from uddm_lib.audit.regime import setting_for
from uddm_lib.audit.scores import token_values
from uddm_lib.diffusion import HybridNoise, reverse_weights
from uddm_lib.facts import Facts
from uddm_lib.memory_probes import dependence_on_tokens
from uddm_lib.noise import UniformNoise, noise_of

V, MASK, L = 11, 4, 12
FACTS = {"level": "t", "p_uniform": 0.2, "mask_id": MASK}
NOISE = HybridNoise(0.2, V, MASK)
T = torch.tensor(0.3, dtype=torch.float64)


def clean(seed=0, count=5):
    x = torch.randint(V - 1, (count, L), generator=seeded(seed))
    return x + (x >= MASK)


class Memory:
    """The exact leave-one-out law of stored sequences, or what ``output`` says, under FACTS."""

    vocab_size, length = V, L

    def __init__(self, stored, output="leave-one-out"):
        self.stored, self.facts = stored, Facts("exact", output=output, **FACTS)

    def denoise(self, z_t, t):
        same = (z_t[:, None] == self.stored).double()
        odds = NOISE.token_log_odds(z_t, t)[:, None] * same
        others = odds.sum(-1, keepdim=True) - odds  # (B, n, L)
        shown = torch.nn.functional.one_hot(self.stored, V).double()
        weights = (others - others.amax(1, keepdim=True)).exp()
        log_p = torch.einsum("bnl,nlv->blv", weights, shown).log().log_softmax(-1)
        own = z_t[..., None]
        excess = {
            "leave-one-out": 0 * z_t,
            "denoiser": NOISE.token_log_odds(z_t, t),
            "approximate": NOISE.dynamic_excess(z_t, t),
        }[self.facts.output][..., None]
        return log_p.scatter_add(-1, own, excess.to(log_p)).log_softmax(-1)


class Given:
    """A denoiser of given logits."""

    def __init__(self, logits, **facts):
        self.logits, self.vocab_size, self.facts = logits, V, Facts(**{**FACTS, **facts})

    def denoise(self, z_t, t):
        return self.logits.expand(len(z_t), -1, -1)


def test_the_mask_is_never_predicted_and_the_excess_is_taken_off():
    logits, z_t = torch.randn(2, L, V, generator=seeded(2)), NOISE.corrupt(clean(3, 2), 0.5)
    law = denoiser.leave_one_out(Given(logits, output="approximate"), z_t, 0.01)
    assert (law[..., MASK] == -torch.inf).all()
    assert torch.allclose(law.exp().sum(-1), torch.ones(2, L, dtype=torch.float64))
    odds = (law - logits).gather(-1, z_t[..., None]) - (law - logits)[..., :1]
    counts = (z_t != MASK) & (z_t != 0)
    expected = -NOISE.dynamic_excess(z_t, 0.01)
    assert counts.any() and torch.allclose(odds[..., 0][counts], expected[counts])
    kept = Given(logits)  # a leave-one-out law that may still have its mask
    assert (denoiser.leave_one_out(kept, z_t, 0.01)[..., MASK] == -torch.inf).all()


@pytest.mark.parametrize("output", ["denoiser", "approximate"])
def test_every_output_gives_the_same(output, worst):
    exact, other, x = Memory(clean()), Memory(clean(), output), clean(1, 30)
    z_t = NOISE.corrupt(x, 0.4, seeded(5))
    steps = NOISE.steps(torch.tensor([0.3, 0.2], dtype=torch.float64))[1].at(0)
    for what, probe in {
        "entropy": lambda one: probes.conditional_entropy(one, x, 0.3),
        "sharpness": lambda one: denoiser.sharpness(one, z_t, T),
        "NELBO": lambda one: denoiser.nelbo(one, z_t, x, 0.4),
        "step": lambda one: denoiser.step(one, z_t, T, steps, seeded(1)),
        "recovery": lambda one: torch.tensor(
            probes.token_recovery(one, x, [0.3, 0.9], steps=20)["recovered"].fillna(2).to_numpy()
        ),
        "text": lambda one: torch.cat(token_values(one, *blocks(x), t=0.1), 1)[[0, 2, 3]],
    }.items():
        difference = (probe(exact) - probe(other)).abs().max()
        worst(f"hybrid noise, {output}, {what}", "leave-one-out form", difference, 1e-6)


def blocks(x):
    return [[row] for row in x], [[torch.ones(L, dtype=torch.bool)] for _ in x]


def test_the_exact_process_ends_at_the_stored_sequences():
    memory = Memory(clean())
    drawn = sampling.generate(memory, 200, L, 60, seeded(1), final_greedy=False)
    which = (drawn[:, None] == memory.stored).all(-1)
    assert which.any(1).float().mean() > 0.95 and (drawn != MASK).all()
    assert which.float().mean(0).min() > 0.1  # of 1/5 each
    greedy = sampling.generate(memory, 50, L, 60, seeded(2))
    assert (greedy[:, None] == memory.stored).all(-1).any(1).float().mean() > 0.95
    z_t = NOISE.corrupt(memory.stored.repeat(20, 1), 0.5, seeded(3))
    restored = sampling.restore(memory, z_t, 0.5, 60, generator=seeded(4))
    assert (restored == memory.stored.repeat(20, 1)).all(1).float().mean() > 0.95


def test_the_grid_lies_in_the_times_that_models_are_trained_at():
    asked = []

    class Asked(Memory):
        def denoise(self, z_t, t):
            asked.append(float(t))
            return super().denoise(z_t, t)

    sampling.generate(Asked(clean()), 2, L, 4, seeded())
    assert asked == pytest.approx([1 - 1e-4, 0.75, 0.5, 0.25, 1e-4], abs=1e-4)
    fine, _ = NOISE.steps(sampling.time_grid(30_000))
    assert (fine.diff() < 0).all() and len(fine) < 30_000  # each time once
    late = Given(torch.zeros(1, L, V), least_t=0.02)
    assert noise_of(late).steps(torch.tensor([0.5, 1e-5]))[0].tolist() == pytest.approx([0.5, 0.02])


def test_the_nelbo_of_a_memory_is_the_logarithm_of_its_size():
    memory = Memory(clean())
    values = probes.token_nelbo(memory, memory.stored, draws=4000).sum(1)
    assert values.mean().item() == pytest.approx(math.log(5), abs=0.05)


def test_a_memory_is_measured_as_one():
    memory = Memory(clean())
    measures = measures_of(generated_by(memory, 64, L, 50))
    assert measures.twins == 1 and measures.entropy < 1e-3 and measures.overconfidence < 0.1
    assert measures.birthday.estimate < 8
    assert setting_for(memory, L, 60)[0] == 512  # times clean tokens, of which none is the mask
    unseen = measures_of(read(memory, clean(9, 64)))
    assert unseen.overconfidence > 0.9
    own = dependence_on_tokens(memory, clean(1, 20), [0.1])["own"]
    seen = dependence_on_tokens(Memory(clean(), "denoiser"), clean(1, 20), [0.1])["own"]
    assert own.max() < 1e-9 < seen.mean()


def test_masks_alone_teach_nothing_of_other_tokens():
    masks = Given(torch.zeros(1, L, V), p_uniform=0.0)
    x = clean()
    for ask in (
        lambda: probes.conditional_entropy(masks, x),
        lambda: denoiser.sharpness(masks, x, T),
        lambda: generated_by(masks, 4, L),
        lambda: token_values(masks, *blocks(x)),
    ):
        with pytest.raises(ValueError, match="predictions at tokens that are no masks"):
            ask()
    assert sampling.generate(masks, 3, L, 5, seeded()).shape == (3, L)
    assert probes.token_nelbo(masks, x).isfinite().all()


def test_noises_are_not_mistaken_for_each_other():
    hybrid, x = Memory(clean()), clean()
    uniform = reverse_weights(*torch.tensor([0.8, 0.6], dtype=torch.float64).unbind())
    with pytest.raises(ValueError, match="weights=ReverseWeights is.*denoiser's noise is hybrid"):
        denoiser.step(hybrid, x, T, uniform, seeded())
    with pytest.raises(ValueError, match="noise=UniformNoise .* the denoiser's noise is hybrid"):
        sampling.restore(hybrid, x, 0.5, 5, noise=UniformNoise(V))
    with pytest.raises(ValueError, match="x holds the mask"):
        probes.conditional_entropy(hybrid, torch.full((1, L), MASK))
