import math

import pytest
import torch

from uddm_lib import diffusion, metrics, probes


class Fixed:
    """A denoiser whose prediction is one law, the same at every position."""

    def __init__(self, law):
        self.logits = torch.tensor(law).log()
        self.vocab_size = len(law)

    def denoise(self, z_t, sigma):
        return self.logits.expand(*z_t.shape, self.vocab_size)


class Copies:
    """A denoiser that predicts the token it sees."""

    vocab_size = 6

    def denoise(self, z_t, sigma):
        return 60.0 * torch.nn.functional.one_hot(z_t, self.vocab_size).float()


class Unable(Copies):
    """A denoiser that must not be asked anything."""

    def denoise(self, z_t, sigma):
        raise AssertionError


class Knows(Copies):
    """A denoiser that predicts token 3 everywhere."""

    def denoise(self, z_t, sigma):
        return super().denoise(torch.full_like(z_t, 3), sigma)


def test_rates_against_a_hand_count():
    x = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]])
    z = torch.tensor([[1, 0, 0, 4], [0, 0, 0, 0], [1, 2, 3, 4]])
    restored = torch.tensor([[1, 2, 0, 5], [1, 2, 3, 0], [1, 2, 3, 4]])
    table = metrics.recovery_rates(x, z, restored)
    assert table["corrupted"].tolist() == [2, 4, 0]
    assert table["recovered"][:2].tolist() == [0.5, 0.75] and math.isnan(table["recovered"][2])
    assert (
        table["unstable"][0] == 0.5
        and math.isnan(table["unstable"][1])
        and table["unstable"][2] == 0
    )
    assert table["exact"].tolist() == [0, 0, 1]


def test_only_scored_positions_count():
    x, z = torch.tensor([[0, 1, 2, 0]]), torch.tensor([[9, 1, 9, 9]])
    scored = torch.tensor([False, True, True, False])
    table = metrics.recovery_rates(x, z, z, scored)
    assert table.loc[0, ["corrupted", "recovered", "unstable"]].tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="scored"):
        metrics.recovery_rates(x, z, z, torch.zeros(4, dtype=torch.bool))


@pytest.mark.parametrize("greedy", [False, True])
def test_recovery_of_a_denoiser_that_knows_the_answer(greedy):
    x = torch.full((20, 10), 3)
    table = probes.token_recovery(Knows(), x, [0.2, 0.5], steps=10, greedy=greedy)
    assert table.groupby("level").size().to_dict() == {0.2: 20, 0.5: 20}
    assert (table["recovered"].dropna() == 1).all() and (table["exact"] == 1).all()
    if greedy:
        assert table.loc[table["level"] == 0.5, "corrupted"].eq(5).all()


def test_a_denoiser_that_copies_recovers_nothing():
    x = torch.randint(6, (20, 10), generator=torch.Generator().manual_seed(0))
    table = probes.token_recovery(Copies(), x, [0.5], steps=10, greedy=True)
    assert (table["recovered"] == 0).all() and (table["unstable"] == 0).all()


def test_recovery_repeats_its_seed():
    x = torch.randint(6, (20, 10), generator=torch.Generator().manual_seed(0))
    law = Fixed([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    first = probes.token_recovery(law, x, [0.3], steps=5, seed=4)
    assert first.equals(probes.token_recovery(law, x, [0.3], steps=5, seed=4))
    assert not first.equals(probes.token_recovery(law, x, [0.3], steps=5, seed=5))


def test_entropy_in_nats():
    law = [0.5, 0.25, 0.25]
    x = torch.randint(3, (5, 4), generator=torch.Generator().manual_seed(0))
    expected = -sum(p * math.log(p) for p in law)
    found = probes.conditional_entropy(Fixed(law), x, batch_size=2)
    torch.testing.assert_close(found, torch.full((5, 4), expected))
    certain = probes.conditional_entropy(Fixed([1.0, 0.0, 0.0]), x)
    assert (certain == 0).all()


def test_outcomes_name_every_token():
    x = torch.full((30, 8), 3)
    table = probes.token_outcomes(Knows(), x, 0.5, steps=5)
    assert len(table) == 240
    assert set(table["outcome"]) == {"recovered", "stable"}
    other = probes.token_outcomes(Knows(), torch.full((30, 8), 2), 0.5, steps=5)
    assert set(other["outcome"]) == {"failed", "unstable"}


def test_validation_nelbo_of_an_exact_denoiser_is_the_entropy():
    """Of independent tokens the law is the leave-one-out conditional, and the bound the entropy."""
    law = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    x = torch.multinomial(
        law, 40_000, replacement=True, generator=torch.Generator().manual_seed(0)
    ).view(-1, 4)
    found = probes.validation_nelbo(Fixed(law.tolist()), x, draws=2)
    assert found.shape == (10_000,)
    entropy = -(law * law.log()).sum().item()
    error = found.std().item() / 100
    assert found.mean().item() == pytest.approx(entropy, abs=3 * error)
    assert error < 0.05


def test_novelty_finds_copies_and_overlaps():
    stored = torch.tensor([[1, 2, 3, 4], [5, 5, 5, 5]])
    generated = torch.tensor([[1, 2, 3, 4], [5, 5, 0, 0], [0, 0, 0, 0]])
    table = metrics.novelty(generated, stored, chunk=2)
    assert table["overlap"].tolist() == [1.0, 0.5, 0.0]
    assert table["copy"].tolist() == [True, False, False]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_corrupt_share_changes_exactly_that_share(share):
    x = torch.randint(6, (50, 8), generator=torch.Generator().manual_seed(0))
    z = diffusion.corrupt_share(x, share, 6, torch.Generator().manual_seed(1))
    assert ((z != x).sum(1) == round(8 * share)).all()
    assert z.min() >= 0 and z.max() < 6


def test_bad_levels_are_named():
    x = torch.zeros(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"t=0 is outside \(0, 1\]"):
        probes.conditional_entropy(Copies(), x, t=0.0)
    with pytest.raises(ValueError, match="t=1.5"):
        probes.token_recovery(Unable(), x, [0.1, 1.5])
    with pytest.raises(ValueError, match="share=1.5"):
        probes.token_recovery(Unable(), x, [0.1, 1.5], greedy=True)
    with pytest.raises(ValueError, match="token ids from 0 to 9; allowed are 0 to 5"):
        probes.conditional_entropy(Copies(), torch.tensor([[0, 9]]))


def test_reverse_profile_of_one_law(worst):
    law = [0.5, 0.25, 0.25]
    table = probes.reverse_profile(
        Fixed(law),
        torch.zeros(2, 3, dtype=torch.long),
        steps=10,
        every=5,
        generator=torch.Generator().manual_seed(0),
    )
    assert table["t"].round(4).tolist() == [1.0, 0.5, 0.0]
    for name, value in (("entropy", 1.5 * math.log(2)), ("variance", 0.625), ("gap", 0.25)):
        worst(
            f"{name} along the reverse process",
            "hand count",
            (table[name] - value).abs().max(),
            1e-6,
        )


def test_reverse_profile_starts_where_it_is_told():
    table = probes.reverse_profile(
        Copies(),
        torch.zeros(2, 3, dtype=torch.long),
        start_t=0.3,
        steps=10,
        generator=torch.Generator().manual_seed(0),
    )
    assert table["t"].round(2).tolist() == [0.3, 0.2, 0.1, 0.0]
    assert table["gap"].min() > 0.999 and table["entropy"].max() < 1e-6
