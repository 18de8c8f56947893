"""Networks and exact solutions through one interface, by hidden states or by logits."""

import math

import pytest
import torch
from safetensors.torch import load_file

from helpers.compare import gap
from helpers.paths import FAMILIES
from helpers.problems import Logits, seeded
from uddm_lib import denoiser, diffusion, probes
from uddm_lib.data import load_corpus, markov_chain
from uddm_lib.facts import Facts
from uddm_lib.memory_probes import dependence_on_tokens
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.oracles import MarkovGeneralizer, Memorizer, OrdinaryPosterior
from uddm_lib.schedule import LogLinearSchedule

SIGMA = torch.tensor(0.4, dtype=torch.float64)


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
        "NELBO": lambda one, z_t, sigma: denoiser.nelbo(one, z_t, x, 0.4),
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
        denoiser.nelbo(memory, z_t, x, 0.4)
        denoiser.step(memory, z_t, SIGMA, weights(), seeded())


# the leave-one-out conditional, whatever a denoiser gives --------------------------


class Given:
    """A denoiser of given logits."""

    def __init__(self, logits, **facts):
        self.logits, self.vocab_size, self.facts = logits, logits.shape[-1], Facts(**facts)

    def denoise(self, z_t, sigma):
        return self.logits


@pytest.mark.parametrize("size", ["V5", "V50"])
def test_conversion_of_reference_vectors(worst, size):
    if not (FAMILIES / "loo").is_dir():
        pytest.skip("the reference vectors of the conversion are not on this machine")
    vectors = load_file(FAMILIES / "loo" / "vectors.safetensors")
    z_t = vectors[f"{size}.z"][:, None]
    for alpha, expected in zip(vectors["alpha"], vectors[f"{size}.log_loo"]):
        given = Given(vectors[f"{size}.log_f"][:, None], output="denoiser")
        found = denoiser.leave_one_out(given, z_t, -alpha.log())[:, 0]
        worst(f"leave-one-out, {size}", "rev_udm", (found - expected).abs().max(), 1e-9)


def oracles():
    chain = MarkovGeneralizer(*markov_chain(11, 3), torch.float64)
    memory = Memorizer(tokens(5, 30), 11, torch.float64)
    return {"generalizer": chain, "memorizer": memory}


@pytest.mark.parametrize("name", ["generalizer", "memorizer"])
def test_a_posterior_gives_the_same_probes_in_both_forms(worst, name):
    """A denoiser's law and the leave-one-out law are two forms of one posterior."""
    exact, x = oracles()[name], tokens(7, 40)
    other = OrdinaryPosterior(exact)
    assert torch.equal(
        denoiser.step(exact, x, SIGMA, weights(), seeded(1)),
        denoiser.step(other, x, SIGMA, weights(), seeded(1)),
    )
    for what, probe in {
        "entropy at 1e-5": lambda one: probes.conditional_entropy(one, x),
        "entropy at 0.3": lambda one: probes.conditional_entropy(one, x, 0.3),
        "sharpness": lambda one: denoiser.sharpness(one, x, SIGMA),
        "NELBO": lambda one: denoiser.nelbo(one, x, tokens(5, 40), 0.4),
        "recovery": lambda one: torch.tensor(
            probes.token_recovery(one, x, [0.3, 0.6], steps=20)["recovered"].fillna(2).to_numpy()
        ),
    }.items():
        difference = (probe(exact) - probe(other)).abs().max()
        worst(f"{name} as a denoiser, {what}", "leave-one-out form", difference, 1e-4)


def test_the_uncorrected_entropy_takes_a_generalizer_for_a_memorizer():
    x = load_corpus("markov").test[:64]
    other = OrdinaryPosterior(MarkovGeneralizer(*markov_chain()))
    assert diffusion.entropy(other.denoise(x, 1e-5)).mean() < 0.01
    assert probes.conditional_entropy(other, x).mean() > 0.2


def test_the_output_of_a_denoiser_depends_on_its_own_token():
    """The measured check of the kind takes predictions as they are made."""
    chain, x = oracles()["generalizer"], tokens(3, 20)
    own = dependence_on_tokens(chain, x, [0.1])["own"]
    seen = dependence_on_tokens(OrdinaryPosterior(chain), x, [0.1])["own"]
    assert own.max() < 1e-9 and seen.mean() > 0.5


@pytest.mark.parametrize(("facts", "least"), [({"softcap": 20.0}, 0), ({"least_t": 0.05}, 0.05)])
def test_small_times_are_refused_with_the_least_that_is_not(facts, least):
    logits, z_t = torch.zeros(2, 6, 11), tokens(count=2)
    given, sigma = Given(logits, output="denoiser", **facts), LogLinearSchedule().sigma
    with pytest.raises(ValueError, match="nats from the leave-one-out law, too far") as refused:
        probes.conditional_entropy(given, z_t, 1e-4)
    t = float(str(refused.value).split()[-1])
    assert t >= least
    probes.conditional_entropy(given, z_t, t)
    with pytest.raises(ValueError, match="use t of at least"):
        denoiser.leave_one_out(given, z_t, sigma(0.99 * t))
    # A step and the last mode are its own.
    assert denoiser.step(given, z_t, sigma(1e-4), weights(), seeded()).shape == z_t.shape
    if "least_t" in facts:
        assert (denoiser.mode(given, z_t, sigma(1e-4)) == 0).all()


def test_a_step_of_a_denoiser_is_that_of_its_own_law(worst):
    """sum_x f(x) q(z_s | z_t, x), for every x by the posterior of a token that is known."""
    f = torch.rand(1, 1, 5, dtype=torch.float64, generator=seeded(1)).softmax(-1)
    z_t, step = torch.tensor([[3]]), weights(0.9, 0.7)
    each = diffusion.posterior(
        torch.eye(5, dtype=torch.float64)[:, None], z_t.expand(5, 1), 0.9, 0.7
    )
    expected = (f[0, 0, :, None] * each[:, 0]).sum(0)
    log_p = denoiser.leave_one_out(Given(f.log(), output="denoiser"), z_t, -math.log(0.7))
    found = diffusion.posterior(log_p.exp(), z_t, 0.9, 0.7)[0, 0]
    worst("step of a denoiser", "its own law", (found - expected).abs().max(), 1e-12)
    given = Given(f.log().expand(20_000, 1, 5), output="denoiser")
    sigma = torch.tensor(-math.log(0.7), dtype=torch.float64)
    drawn = denoiser.step(given, z_t.expand(20_000, 1), sigma, step, seeded(2))
    shares = torch.bincount(drawn[:, 0], minlength=5) / 20_000
    assert ((shares - expected).abs() < 4 * (expected / 20_000).sqrt()).all()


def test_sequences_are_converted_a_part_at_a_time(monkeypatch):
    exact, z_t, x = OrdinaryPosterior(oracles()["memorizer"]), tokens(7, 9), tokens(5, 9)
    times = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    sigma = LogLinearSchedule().sigma(times)

    def everything():
        return [
            denoiser.entropy(exact, z_t, sigma),
            denoiser.sharpness(exact, z_t, SIGMA),
            denoiser.nelbo(exact, z_t, x, times),
            denoiser.mode(exact, z_t, SIGMA),
        ]

    whole = everything()
    monkeypatch.setattr(denoiser, "ENTRIES", 2 * 6 * 11)
    for one, other in zip(whole, everything()):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"output": "loo"}, "output='loo' is not allowed; it must be one of leave-one-out"),
        ({"level": "gamma"}, "level='gamma'"),
        ({"mask_id": 3}, "hybrid noise has both"),
        ({"output": "approximate"}, "is of hybrid noise"),
        ({"level": "t"}, "under hybrid noise, and only there"),
        ({"p_uniform": 0.2, "mask_id": 1}, "under hybrid noise, and only there"),
        (
            {"p_uniform": 1.0, "mask_id": 1, "level": "t"},
            r"p_uniform=1.0 is not a number in \[0, 1\)",
        ),
        ({"least_t": -1}, "least_t=-1 is not a number"),
    ],
)
def test_facts_that_contradict_each_other(facts, message):
    with pytest.raises(ValueError, match=message):
        Facts(**facts)
    with pytest.raises(ValueError, match=message):
        UDDMConfig(facts=facts)
