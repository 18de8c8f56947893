"""The paper's claims about token recovery and stability (figures 1 and 2)."""

from uddm_lib.statistics.claims.bounds import (
    ALIKE,
    LEVEL,
    MOST,
    NEAR_ONE,
    NEAR_ZERO,
    NOT_MUCH,
    ROUGHLY_HALF,
    TRAIN_TEST,
    Measure,
    above,
    below,
    between,
    claim,
    each,
)

__all__ = ["RECOVERY", "STABILITY"]

_CHANGE = "change of {} recovery from the smallest to the largest n"


def _changes(name: str) -> Measure:
    """Change of recovery with n, of both processes."""
    return lambda m: {
        "t = 0.1": m.change(lambda n: m.stochastic(n, name)),
        "greedy": m.change(lambda n: m.basin(n, name)),
    }


RECOVERY = (
    claim(
        "stored",
        "At the smallest n, training sequences come back",
        "section 5, figure 2",
        above(
            NEAR_ONE,
            "share",
            "train recovery, t = 0.1, smallest n",
            lambda m: m.stochastic(m.smallest, "train"),
        ),
    ),
    claim(
        "unseen_lost",
        "At the smallest n, unseen sequences do not come back",
        "section 5, figure 2",
        below(
            NEAR_ZERO,
            "share",
            "test recovery minus that of random sequences, t = 0.1, smallest n",
            lambda m: m.stochastic(m.smallest, "test") - m.stochastic(m.smallest, "random"),
        ),
    ),
    claim(
        "shrink",
        "As n grows, basins around training sequences shrink",
        "abstract, section 5, figures 1A and 2",
        below(-NEAR_ZERO, "share", _CHANGE.format("train"), _changes("train")),
    ),
    claim(
        "expand",
        "As n grows, basins around unseen sequences expand",
        "abstract, section 5, figures 1B and 2",
        above(NEAR_ZERO, "share", _CHANGE.format("test"), _changes("test")),
    ),
    claim(
        "meet",
        "At the largest n, train and test recovery are the same",
        "abstract, section 5, figure 2",
        between(
            -ALIKE,
            ALIKE,
            "share",
            "train minus test recovery, largest n",
            lambda m: each(m.times, lambda t: m.gap(m.largest, t), "t = {:g}"),
        ),
    ),
    claim(
        "basins_meet",
        "At the largest n, basins around training and unseen sequences are the same",
        "sections 5 and 6, figure 1",
        between(
            -ALIKE,
            ALIKE,
            "share",
            "train minus test recovery, greedy, largest n",
            lambda m: each(
                m.shares,
                lambda s: m.greedy(m.largest, "train", s) - m.greedy(m.largest, "test", s),
                "share {:g}",
            ),
        ),
    ),
    claim(
        "half",
        "At the largest n, about half of the corrupted tokens come back",
        "section 5, figure 2 (tiny, all data)",
        between(
            *ROUGHLY_HALF,
            "share",
            "recovery, t = 0.1, largest n",
            lambda m: each(TRAIN_TEST, lambda s: m.stochastic(m.largest, s)),
        ),
    ),
    claim(
        "delay",
        "Larger models have their transition at a larger n",
        "abstract, sections 5 and 6, figure 2",
        above(
            1,
            "ratio",
            "n at which train minus test recovery falls below 0.3, over that of the next "
            "smaller model",
            lambda m: each(m.times, m.delay, "t = {:g}"),
        ),
        of_sizes=True,
    ),
    claim(
        "processes_alike",
        "Greedy and stochastic recovery differ little",
        "appendix A",
        between(
            -NOT_MUCH,
            NOT_MUCH,
            "share",
            "greedy minus stochastic recovery, a share of 0.1 and t = 0.1, largest n",
            lambda m: each(
                TRAIN_TEST, lambda s: m.greedy(m.largest, s) - m.stochastic(m.largest, s)
            ),
        ),
    ),
    claim(
        "recovery_levels",
        "Recovery levels off",
        "section 6, figure 2",
        between(
            -LEVEL,
            LEVEL,
            "share per doubling of n",
            "recovery, t = 0.1, last two n",
            lambda m: each(TRAIN_TEST, lambda s: m.slope(lambda n: m.stochastic(n, s))),
        ),
    ),
)

STABILITY = (
    claim(
        "overwrites",
        "A model that memorizes overwrites untouched tokens of unseen text",
        "section 1",
        above(
            MOST,
            "share",
            "untouched test tokens changed, t = 0.1, smallest n",
            lambda m: m.stochastic(m.smallest, "test", column="unstable"),
        ),
    ),
    claim(
        "overwrites_greedy",
        "A model that memorizes overwrites untouched tokens of unseen text (greedy)",
        "section 1, figure 1",
        above(
            MOST,
            "share",
            "untouched test tokens changed, greedy, a share of 0.1, smallest n",
            lambda m: m.greedy(m.smallest, "test", column="unstable"),
        ),
    ),
    claim(
        "keeps",
        "A model that generalizes keeps untouched tokens of unseen text",
        "section 1",
        below(
            NEAR_ZERO,
            "share",
            "untouched test tokens changed, t = 0.1, largest n",
            lambda m: m.stochastic(m.largest, "test", column="unstable"),
        ),
    ),
    claim(
        "keeps_greedy",
        "A model that generalizes keeps untouched tokens of unseen text (greedy)",
        "section 1, figure 1",
        below(
            NEAR_ZERO,
            "share",
            "untouched test tokens changed, greedy, a share of 0.1, largest n",
            lambda m: m.greedy(m.largest, "test", column="unstable"),
        ),
    ),
)
