"""A Markov chain of known entropy, and the corpus of its sequences."""

import string
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from uddm_lib._checks import integer, positive_integer
from uddm_lib.data.blocks import distinct
from uddm_lib.data.corpus import Corpus, CorpusRequest
from uddm_lib.data.tokenizers import wrap_tokenizer

if TYPE_CHECKING:
    import transformers

__all__ = ["chain_entropy", "load", "markov_chain"]

SUCCESSORS = 4  # next states of each state of the corpus
LENGTH, VOCAB_SIZE = 16, 32  # defaults of the corpus
TRAIN_SEQUENCES, TEST_SEQUENCES = 16_384, 2_048  # of the corpus, at most
SURPLUS = 5 / 4  # sequences drawn for each of these, to have enough without the repeats
STATES = string.ascii_uppercase + string.ascii_lowercase + string.digits + string.punctuation
STATES += "".join(map(chr, range(0x100, 0x1A2)))  # to 256 characters, one for each state

Chain = tuple[Float[Tensor, "V"], Float[Tensor, "V V"]]


def markov_chain(
    vocab_size: int = VOCAB_SIZE, successors: int = SUCCESSORS, seed: int = 1
) -> Chain:
    """The chain behind ``load_corpus("markov", vocab_size=vocab_size, seed=seed)``.

    Each state has ``successors`` different next states, whose probabilities are drawn from
    Dirichlet(2, ..., 2). One of them is the next state on a random cycle through all states, so
    that every state can be reached from every other.

    Returns:
        The stationary distribution (V,), from which a sequence's first state is drawn, and the
        transition matrix (V, V), whose row i is the distribution of the state after i. Both are
        float64.

    Raises:
        ValueError: unless vocab_size >= 2 and 1 <= successors <= vocab_size.
    """
    generator = torch.Generator().manual_seed(integer("seed", seed, 0))
    return _draw_chain(vocab_size, successors, generator)


def chain_entropy(
    initial: Float[Tensor, "V"], transition: Float[Tensor, "V V"], length: int
) -> float:
    """Entropy of a chain's sequences in nats: H(x^1) + sum over l = 2..L of H(x^l | x^(l-1)).

    Args:
        initial: distribution of the first state.
        transition: row i is the distribution of the state after i.
        length: states in a sequence, L, at least 1.
    """
    state, transition = initial.double(), transition.double()
    conditional = torch.special.entr(transition).sum(1)
    total = torch.special.entr(state).sum()
    for _ in range(positive_integer("length", length) - 1):
        total = total + state @ conditional
        state = state @ transition
    return total.item()


def load(request: CorpusRequest) -> Corpus:
    """Distinct sequences of a chain; a token is a state, written as one character."""
    if request.tokenizer is not None:
        raise ValueError(
            f"tokenizer={request.tokenizer!r}: the tokens of corpus {request.name!r} are its "
            "states, it takes none"
        )
    length = LENGTH if request.length is None else request.length
    vocab_size = VOCAB_SIZE if request.vocab_size is None else request.vocab_size
    integer("vocab_size", vocab_size, SUCCESSORS, len(STATES))
    generator = torch.Generator().manual_seed(request.seed)
    initial, transition = _draw_chain(vocab_size, SUCCESSORS, generator)
    draws = [int(SURPLUS * TRAIN_SEQUENCES), int(SURPLUS * TEST_SEQUENCES)]
    states = [torch.multinomial(initial, sum(draws), replacement=True, generator=generator)]
    while len(states) < length:
        states.append(torch.multinomial(transition[states[-1]], 1, generator=generator)[:, 0])
    train, test, duplicates = distinct(*torch.stack(states, dim=1).split(draws))
    if not len(test):
        raise ValueError(
            f"length {length} at vocab_size {vocab_size} leaves no test sequence that is not in "
            "train; take a greater length"
        )
    return Corpus(
        request.name,
        train[:TRAIN_SEQUENCES],
        test[:TEST_SEQUENCES],
        _tokenizer_of_states(vocab_size),
        torch.ones(length, dtype=torch.bool),
        duplicates,
        chain_entropy(initial, transition, length) / length,
    )


def _draw_chain(vocab_size: int, successors: int, generator: torch.Generator) -> Chain:
    """Stationary distribution and transition matrix of a random chain, both float64."""
    successors = positive_integer("successors", successors)
    vocab_size = integer("vocab_size", vocab_size, max(2, successors))
    cycle = torch.randperm(vocab_size, generator=generator)
    priority = torch.rand(vocab_size, vocab_size, generator=generator)
    # Above every draw, so that the next state on the cycle is always among the successors.
    priority[cycle, cycle.roll(-1)] = 2.0
    # Dirichlet(2): sums of two exponential variables, normalized. With Dirichlet(1) some
    # transitions are so likely that over 1 % of the sequences repeat, and dropping these puts the
    # rest off the chain's entropy.
    weights = torch.empty(2, vocab_size, successors, dtype=torch.float64)
    weights = weights.exponential_(generator=generator).sum(0)
    weights /= weights.sum(1, keepdim=True)
    transition = torch.zeros(vocab_size, vocab_size, dtype=torch.float64)
    transition.scatter_(1, priority.topk(successors).indices, weights)
    # The stationary distribution pi solves pi (P - 1) = 0 and sum pi = 1.
    identity = torch.eye(vocab_size + 1, dtype=torch.float64)
    ones = torch.ones(1, vocab_size, dtype=torch.float64)
    system = torch.cat([transition.T - identity[:-1, :-1], ones])
    stationary = torch.linalg.lstsq(system, identity[:, -1:]).solution[:, 0].clamp(min=0.0)
    return stationary / stationary.sum(), transition


def _tokenizer_of_states(vocab_size: int) -> "transformers.PreTrainedTokenizerFast":
    """One character a state: A to Z, a to z, digits, punctuation, then accented letters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {state: index for index, state in enumerate(STATES[:vocab_size])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return wrap_tokenizer(tokenizer)
