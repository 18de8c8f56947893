import io

import pytest
import torch
from tqdm.auto import tqdm

from uddm_lib import probes, sampling
from uddm_lib.diffusion import reverse_step
from uddm_lib.sampling import T_END, generate, restore, time_grid, trajectory
from uddm_lib.schedule import LogLinearSchedule


class Knows:
    """A denoiser that always predicts the same sequence, and counts how often it is asked."""

    vocab_size = 7

    def __init__(self, target, confidence=40.0):
        self.logits = confidence * torch.nn.functional.one_hot(target, self.vocab_size).float()
        self.sigmas = []

    def denoise(self, z_t, sigma):
        self.sigmas.append(float(sigma))
        return self.logits.expand(*z_t.shape, self.vocab_size)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_grid_runs_from_one_to_the_end_time():
    grid = time_grid(4)
    assert grid.dtype == torch.float64 and len(grid) == 5
    assert grid[0] == 1 and grid[-1] == T_END


@pytest.mark.parametrize("greedy", [False, True])
def test_restore_finds_what_the_denoiser_knows(greedy):
    target = torch.tensor([1, 2, 3, 4, 5])
    z = torch.randint(7, (9, 5), generator=seeded())
    ends = restore(
        Knows(target), z, 1.0, steps=20, greedy=greedy, generator=seeded(1), batch_size=4
    )
    assert (ends == target).all()


def test_generate_starts_from_noise_and_repeats_its_seed():
    uniform = Knows(torch.tensor([0, 0, 0]), confidence=0.0)
    first = generate(uniform, 500, 3, steps=3, generator=seeded(5), final_greedy=False)
    assert first.shape == (500, 3)
    assert torch.equal(
        first, generate(uniform, 500, 3, steps=3, generator=seeded(5), final_greedy=False)
    )
    counts = torch.bincount(first.flatten(), minlength=7)
    assert counts.min() > 150  # 1,500 tokens over 7, all from noise


def test_trajectory_starts_at_the_nearest_grid_time():
    denoiser = Knows(torch.tensor([1, 2]))
    times = [
        t
        for t, _ in trajectory(
            denoiser, torch.zeros(1, 2, dtype=torch.long), 0.26, steps=10, generator=seeded()
        )
    ]
    assert times == pytest.approx([0.300007, 0.200008, 0.100009, 1e-5, 0.0])
    assert len(denoiser.sigmas) == 4


def test_greedy_skips_only_steps_that_cannot_change_anything():
    """On a fine grid a greedy step keeps every token until the very end, whatever is predicted."""
    target = torch.tensor([1, 2, 3])
    z = torch.zeros(4, 3, dtype=torch.long)
    fast = Knows(target)
    states = list(trajectory(fast, z, 1.0, steps=200, greedy=True))
    assert len(states) == 202 and len(fast.sigmas) < 5
    schedule, times, slow = LogLinearSchedule(), time_grid(200), z
    for t, s, (_, state) in zip(times[:-1], times[1:], states[1:]):
        logits = Knows(target).denoise(slow, schedule.sigma(t))
        slow = reverse_step(logits, slow, schedule.alpha(s), schedule.alpha(t), greedy=True)
        assert torch.equal(slow, state)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"start_t": 0.0}, "start_t=0.0 is outside"),
        ({"start_t": 1.2}, "start_t=1.2"),
        ({"start_t": 0.5, "steps": 0}, "steps=0"),
        ({"start_t": 0.5, "batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        restore(Knows(torch.tensor([1, 2])), torch.zeros(1, 2, dtype=torch.long), **arguments)


def test_generate_refuses_no_sequences():
    with pytest.raises(ValueError, match="n=0"):
        generate(Knows(torch.tensor([1, 2])), 0, 2)


def test_one_bar_counts_every_step_of_every_sequence(monkeypatch):
    """Over batches that don't divide the sequences, over levels, and over skipped steps."""
    bars = []

    class Bar(tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"disable": False, "file": io.StringIO()})
            bars.append((self, options["disable"]))

    for module in (sampling, probes):
        monkeypatch.setattr(module, "tqdm", Bar)
    x = torch.zeros(5, 3, dtype=torch.long)
    denoiser = Knows(x[0])
    generate(denoiser, 5, 3, steps=10, batch_size=2, show_progress=True)
    probes.token_recovery(denoiser, x, [0.1, 0.5, 1.0], steps=10, batch_size=2, show_progress=True)
    probes.token_recovery(denoiser, x, [0.1, 0.5], steps=10, greedy=True, batch_size=2)
    assert (
        [bar.n for bar, _ in bars]
        == [bar.total for bar, _ in bars]
        == [55, 5 * (2 + 6 + 11), 2 * 55]
    )
    assert [disabled for _, disabled in bars] == [False, False, True]
