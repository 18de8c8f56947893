"""Iterated predictions and dependence on single tokens, of denoisers whose answers are known."""

import math

import pytest
import torch

from uddm_lib.data import load_corpus, markov_chain
from uddm_lib.denoiser import total_variation
from uddm_lib.memory_probes import dependence_on_tokens, iterated_mode
from uddm_lib.oracles import MarkovGeneralizer, Memorizer, OrdinaryPosterior

X = torch.randint(6, (12, 5), generator=torch.Generator().manual_seed(0))


class Moves:
    """A denoiser that predicts, at every position, what a function makes of the input."""

    vocab_size = 6

    def __init__(self, move):
        self.move = move

    def denoise(self, z_t, sigma):
        return 60.0 * torch.nn.functional.one_hot(self.move(z_t), self.vocab_size).float()


COPIES = Moves(lambda z: z)
NEXT_TOKEN = Moves(lambda z: z.roll(-1, 1))


@pytest.mark.parametrize(
    "move, updates, period",
    [
        (COPIES.move, 0, 1),
        (lambda z: torch.full_like(z, 3), 1, 1),
        (lambda z: (z + 1) % 6, 0, 6),
        (lambda z: (z + 1).clamp(max=5), None, 1),
    ],
)
def test_iteration_finds_fixed_points_and_cycles(move, updates, period):
    end, table = iterated_mode(Moves(move), X)
    assert table["period"].eq(period).all()
    expected = 5 - X.amin(1) if updates is None else torch.full_like(X[:, 0], updates)
    assert table["updates"].tolist() == expected.tolist()
    if period == 1:
        assert (move(end) == end).all()


def test_iteration_gives_up():
    end, table = iterated_mode(Moves(lambda z: (z + 1) % 6), X, limit=5)
    assert table["period"].eq(0).all() and table["updates"].eq(5).all()
    assert (end == (X + 5) % 6).all()
    with pytest.raises(ValueError, match="limit=0"):
        iterated_mode(COPIES, X, limit=0)
    with pytest.raises(ValueError, match="t=1.5"):
        iterated_mode(COPIES, X, t=1.5)


def test_a_memory_iterates_to_what_it_stores():
    stored = torch.randint(6, (3, 20), generator=torch.Generator().manual_seed(1))
    damaged = stored.clone()
    damaged[:, :4] = (damaged[:, :4] + 1) % 6
    end, table = iterated_mode(Memorizer(stored, 6), damaged)
    assert (end == stored).all() and table["updates"].eq(1).all()


def test_exact_conditionals_come_to_rest_one_by_one():
    initial, transition = markov_chain()
    transition = 0.8 * transition + 0.2 / len(initial)
    chain = MarkovGeneralizer(initial, transition)

    def log_law(z):
        return initial.log()[z[:, 0]] + transition.log()[z[:, :-1], z[:, 1:]].sum(1)

    noisy = torch.randint(len(initial), (64, 8), generator=torch.Generator().manual_seed(2))
    assert iterated_mode(chain, noisy)[1]["period"].gt(1).mean() > 0.5
    end, table = iterated_mode(chain, noisy, one_by_one=True)
    assert table["period"].eq(1).all() and (log_law(end) >= log_law(noisy)).all()
    assert (log_law(end) > log_law(noisy)).double().mean() > 0.9


def test_one_by_one_each_token_sees_what_the_one_before_became():
    end, _ = iterated_mode(Moves(lambda z: z.roll(1, 1)), X, limit=1, one_by_one=True)
    assert (end == X[:, -1:]).all()


def test_dependence_of_predictions_known_by_hand():
    own = dependence_on_tokens(COPIES, X, [0.1, 0.5])
    assert own["t"].value_counts().to_dict() == {0.1: 12, 0.5: 12}
    assert (own["own"] > 1 - 1e-6).all() and own["neighbor"].eq(0).all()
    inner = torch.tensor([True, True, True, True, False])
    other = dependence_on_tokens(NEXT_TOKEN, X, [0.1], inner)
    assert other["own"].eq(0).all() and (other["neighbor"] > 1 - 1e-6).all()
    last = dependence_on_tokens(NEXT_TOKEN, X, [0.1], ~inner)  # the one before is of no account
    assert not last[["own", "neighbor"]].to_numpy().any()


def test_only_the_leave_one_out_conditional_ignores_a_token_itself(worst):
    corpus = load_corpus("markov")
    chain = MarkovGeneralizer(*markov_chain(corpus.vocab_size), dtype=torch.float64)
    memory = Memorizer(corpus.train[:64], corpus.vocab_size, torch.float64)
    for denoiser in (chain, memory):
        table = dependence_on_tokens(denoiser, corpus.test[:64], [1e-3, 0.1, 0.5])
        worst("leave-one-out: own token", "zero", table["own"].max(), 1e-9)
        assert table["neighbor"].mean() > 0.05
        posterior = dependence_on_tokens(OrdinaryPosterior(denoiser), corpus.test[:64], [0.1])
        assert posterior["own"].mean() > 0.1


def test_a_chain_exposes_a_changed_token_so_the_posterior_moves_little():
    corpus, (initial, transition) = load_corpus("markov"), markov_chain()
    x, place = corpus.test[:256], corpus.length // 2
    shift = torch.randint(1, len(initial), (len(x),), generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, place] = (other[:, place] + shift) % len(initial)
    posterior, sigma = OrdinaryPosterior(MarkovGeneralizer(initial, transition)), -math.log1p(-1e-5)
    moved = total_variation(posterior, x, other, torch.tensor(sigma))[:, place]
    before, changed, after = other[:, place - 1 : place + 2].T
    fits = (transition[before, changed] > 0) & (transition[changed, after] > 0)
    assert 0 < fits.double().mean() < 0.1, "the changed token seldom fits between its neighbors"
    assert moved[fits].min() > 0.99 and moved[~fits].mean() < 0.3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="1 token a sequence"):
        dependence_on_tokens(COPIES, X[:, :1], [0.1])
    with pytest.raises(ValueError, match="t=0"):
        dependence_on_tokens(COPIES, X, [0.1, 0.0])
