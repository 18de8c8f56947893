"""The paper's claims about conditional entropy (figures 3 to 5), and about perplexity."""

from collections.abc import Callable

from uddm_lib.statistics.claims.bounds import (
    APART,
    DISTINGUISHES,
    LEVEL,
    MOST,
    NEAR_ONE,
    NEAR_ZERO,
    REPLACES,
    TRAIN_GENERATED,
    TRAIN_TEST,
    Claim,
    above,
    below,
    between,
    claim,
    each,
)
from uddm_lib.statistics.claims.measures import Model

__all__ = ["SEQUENCES", "TOKENS"]


def _tokens(name: str, regime: str, n: Callable[[Model], int]) -> tuple[Claim, ...]:
    """The claims about tokens of the model trained on the smallest, or the largest n."""
    end = "smallest n" if regime == "memorizes" else "largest n"
    where = f"corrupted tokens, t = 0.1, {end}"
    return (
        claim(
            f"{name}_recovered",
            f"A model that {regime} is sure of the tokens that come back",
            "section 5, figure 3B",
            above(
                MOST,
                "share below 0.1 nats",
                f"recovered {where}",
                lambda m: each(TRAIN_TEST, lambda s: m.sure(n(m), s, "recovered")),
            ),
        ),
        claim(
            f"{name}_failed",
            f"A model that {regime} is not sure of the tokens that do not come back",
            "section 5, figure 3B",
            below(
                MOST,
                "share below 0.1 nats",
                f"failed {where}",
                lambda m: each(TRAIN_TEST, lambda s: m.sure(n(m), s, "failed")),
            ),
        ),
        claim(
            f"{name}_auc",
            f"In a model that {regime}, entropy tells failed from recovered tokens",
            "section 1, figure 3",
            above(
                DISTINGUISHES,
                "AUC",
                f"entropy of {where}: failed against recovered",
                lambda m: each(TRAIN_TEST, lambda s: m.token_auc(n(m), s)),
            ),
        ),
    )


TOKENS = (
    *_tokens("memorizer", "memorizes", lambda m: m.smallest),
    *_tokens("generalizer", "generalizes", lambda m: m.largest),
    claim(
        "sure_tokens",
        "A model that generalizes is sure of a surprising share of tokens",
        "section 5, figure 3B",
        above(
            NEAR_ZERO,
            "share below 0.1 nats",
            "all corrupted tokens, t = 0.1, largest n",
            lambda m: each(TRAIN_TEST, lambda s: m.sure(m.largest, s)),
        ),
    ),
)

SEQUENCES = (
    claim(
        "entropy_vanishes",
        "At the smallest n, entropies of training and generated sequences are near zero",
        "abstract, section 5, figure 4",
        below(
            NEAR_ZERO,
            "nats per token",
            "mean entropy, smallest n",
            lambda m: each(TRAIN_GENERATED, lambda s: m.entropy(m.smallest, s)),
        ),
    ),
    claim(
        "entropy_separates",
        "In between, the two distributions of entropies lie apart",
        "section 5, figure 4",
        above(
            NEAR_ZERO,
            "nats per token",
            "generated minus training entropy, where it is largest",
            lambda m: m.entropy_gap(m.widest()),
        ),
        below(
            APART,
            "overlap",
            "training and generated entropies, at the same n",
            lambda m: m.overlap(m.widest()),
        ),
    ),
    claim(
        "entropy_finite",
        "At the largest n, both entropies are finite",
        "abstract, section 5, figure 4",
        above(
            NEAR_ZERO,
            "nats per token",
            "mean entropy, largest n",
            lambda m: each(TRAIN_GENERATED, lambda s: m.entropy(m.largest, s)),
        ),
    ),
    claim(
        "entropy_meets",
        "At the largest n, the two distributions of entropies overlap again",
        "sections 1 and 5, figure 4",
        above(
            NEAR_ONE,
            "overlap",
            "training and generated entropies, largest n",
            lambda m: m.overlap(m.largest),
        ),
        between(
            -NEAR_ZERO,
            NEAR_ZERO,
            "nats per token",
            "generated minus training entropy, largest n",
            lambda m: m.entropy_gap(m.largest),
        ),
    ),
    claim(
        "gap_remains",
        "At the largest n, models are less sure of generated than of training sequences",
        "sections 5 and 6, figure 5",
        above(
            0,
            "nats per token",
            "generated minus training entropy, largest n",
            lambda m: m.entropy_gap(m.largest),
        ),
    ),
    claim(
        "gap_narrows",
        "The entropy gap at the largest n narrows with model size",
        "sections 1, 5 and 6, figure 5",
        below(
            0,
            "nats per token",
            "generated minus training entropy, less that of the next smaller model",
            lambda m: m.step(Model.entropy_gap),
        ),
        of_sizes=True,
    ),
    claim(
        "entropy_falls",
        "The mean entropy at the largest n falls with model size",
        "section 5, figure 5",
        below(
            0,
            "nats per token",
            "mean entropy, less that of the next smaller model",
            lambda m: each(
                TRAIN_GENERATED,
                lambda s: m.step(lambda model, n: model.entropy(n, s)),
            ),
        ),
        of_sizes=True,
    ),
    claim(
        "copies",
        "A low entropy marks the generated sequences that are copies",
        "abstract, sections 4 and 6",
        above(
            REPLACES,
            "AUC",
            "entropy of generated sequences of all n: others against exact copies",
            Model.copy_auc,
        ),
    ),
    claim(
        "entropy_levels",
        "Entropy levels off",
        "section 6, figure 5",
        between(
            -LEVEL,
            LEVEL,
            "nats per token and doubling of n",
            "mean entropy, last two n",
            lambda m: each(TRAIN_GENERATED, lambda s: m.slope(lambda n: m.entropy(n, s))),
        ),
    ),
    claim(
        "perplexity_peaks",
        "Validation perplexity peaks inside the grid of n",
        "released code",
        above(
            0,
            "nats per token",
            "validation NELBO in between, at its largest, minus that at the higher end",
            Model.peak,
        ),
    ),
)
