"""Networks and exact solutions through one interface, by hidden states or by logits."""

import pytest
import torch

from helpers.compare import gap
from uddm_lib import denoiser, diffusion
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.oracles import MarkovGeneralizer, Memorizer

SIGMA = torch.tensor(0.4, dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Logits:
    """A network seen through its logits alone."""

    def __init__(self, model):
        self.denoise, self.vocab_size = model.denoise, model.vocab_size


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = UDDMConfig.named("pico", vocab_size=11, length=6, adaln_zero=False)
        model = UDDM(config).eval()
        torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def tokens(seed=0, count=9):
    return torch.randint(11, (count, 6), generator=seeded(seed))


def weights(alpha_s=0.8, alpha_t=0.6):
    return diffusion.reverse_weights(
        *torch.tensor([alpha_s, alpha_t], dtype=torch.float64).unbind()
    )


def test_networks_and_exact_solutions_are_denoisers(network):
    for one in (
        network,
        Logits(network),
        Memorizer(tokens(), 11),
        MarkovGeneralizer(torch.ones(2) / 2, torch.ones(2, 2) / 2),
    ):
        assert isinstance(one, denoiser.Denoiser)
    assert not isinstance(torch.nn.Linear(2, 2), denoiser.Denoiser)


def test_hidden_states_and_logits_give_the_same(network, worst):
    z_t, x, logits = tokens(), tokens(1), Logits(network)
    assert torch.equal(denoiser.mode(network, z_t, SIGMA), denoiser.mode(logits, z_t, SIGMA))
    for name, ask in {
        "entropy": denoiser.entropy,
        "sharpness": denoiser.sharpness,
        "NELBO": lambda one, z_t, sigma: denoiser.nelbo(one, z_t, sigma, x, 0.6, -1.0),
    }.items():
        worst(
            f"denoiser, {name} from hidden states",
            "the same from logits",
            gap(ask(network, z_t, SIGMA), ask(logits, z_t, SIGMA)),
            1e-5,
        )
    greedy = [
        denoiser.step(one, z_t, SIGMA, weights(1.0, 0.2), greedy=True) for one in (network, logits)
    ]
    assert torch.equal(*greedy) and not torch.equal(greedy[0], z_t)


def test_a_step_of_a_network_asks_only_about_sequences_that_need_it(network, monkeypatch):
    z_t, counts = tokens(count=100), []
    hidden = network.hidden
    monkeypatch.setattr(
        network, "hidden", lambda z, sigma: counts.append(len(z)) or hidden(z, sigma)
    )
    stay = weights(0.5, 0.4999)
    moved = denoiser.step(network, z_t, SIGMA, stay, seeded(1)) != z_t
    u = diffusion.uniform_draws(z_t, seeded(1))
    needed = diffusion.undecided(u, stay).any(1)
    assert not moved[~needed].any() and moved.any()
    assert needed.sum() <= sum(counts) <= 1.25 * needed.sum() + 1 < 50


def test_a_step_of_a_network_is_that_of_all_its_sequences(network):
    """Leaving out sequences changes nothing."""
    z_t, head = tokens(count=40), network.head
    u = diffusion.uniform_draws(z_t, seeded(1))
    with torch.no_grad():
        hidden = network.hidden(z_t, SIGMA)
    expected = diffusion.step_from_hidden(hidden, head.weight, head.bias, z_t, weights(), u)
    assert torch.equal(denoiser.step(network, z_t, SIGMA, weights(), seeded(1)), expected)


def test_exact_solutions_stay_exact_under_autocast():
    """bfloat16 would spoil sums over a hundred stored sequences."""

    class Product(Memorizer):
        def denoise(self, z_t, sigma):
            assert not torch.is_autocast_enabled("cpu")
            return super().denoise(z_t, sigma)

    memory, z_t, x = Product(tokens(count=100), 11), tokens(1), tokens(2)
    with torch.autocast("cpu", torch.bfloat16):
        denoiser.mode(memory, z_t, SIGMA)
        denoiser.entropy(memory, z_t, SIGMA)
        denoiser.sharpness(memory, z_t, SIGMA)
        denoiser.nelbo(memory, z_t, SIGMA, x, 0.6, -1.0)
        denoiser.step(memory, z_t, SIGMA, weights(), seeded())
