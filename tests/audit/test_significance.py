"""p-values, discoveries and abstentions keep the errors that they admit."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from uddm_lib.audit import significance
from uddm_lib.audit.scores import SCORES
from uddm_lib.audit.significance import (
    conformal_p_values,
    detection,
    detection_texts,
    discoveries,
    set_p_value,
    two_sample_p_value,
)
from uddm_lib.data import load_corpus


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def within_binomial_error(count, trials, rate):
    low, high = binom.interval(0.999, trials, rate)
    return low <= count <= high


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_unseen_texts_are_called_memorized_at_the_stated_rate(rate):
    p_values = np.array(
        [conformal_p_values(normal(2 * i, 1), normal(2 * i + 1, 299))[0] for i in range(4000)]
    )
    assert within_binomial_error((p_values <= rate).sum(), len(p_values), rate)


def test_p_values_of_equal_scores_are_the_larger_ones():
    assert conformal_p_values(np.array([1.0, 3.0, 0.0]), np.array([1.0, 2.0, 2.0])).tolist() == [
        1.0,
        0.25,
        1.0,
    ]


def test_false_discoveries_stay_below_their_share():
    """Forty of two hundred texts are memorized, and their scores are 2.5 deviations higher."""
    shares, found = [], []
    for i in range(300):
        scores = normal(2 * i, 200)
        scores[:40] += 2.5
        chosen = discoveries(conformal_p_values(scores, normal(2 * i + 1, 1000)), 0.1)
        shares.append(chosen[40:].sum() / max(chosen.sum(), 1))
        found.append(chosen[:40].mean())
    error = np.std(shares) / len(shares) ** 0.5
    assert np.mean(shares) < 0.1 + 3 * error and np.mean(found) > 0.5


def test_all_texts_together():
    p_values = np.array(
        [set_p_value(normal(2 * i, 50), normal(2 * i + 1, 200)) for i in range(999)]
    )
    assert within_binomial_error((p_values <= 0.05).sum(), len(p_values), 0.05)
    assert set_p_value(normal(0, 50) + 1, normal(1, 200)) < 1e-4


def test_detection_of_members():
    frames = [
        pd.DataFrame({"right": normal(i, 1200) + shift, "blind": normal(i + 5, 1200)})
        for i, shift in enumerate((2.0, 0.0))
    ]
    table = detection(*frames, ["right", "blind"]).set_index("score")
    right, blind = table.loc["right"], table.loc["blind"]
    # Of two normal laws two deviations apart: Phi(sqrt(2)) and Phi(2 - z).
    for name, expected in {"auc": 0.921, "tpr_1": 0.372, "tpr_5": 0.639}.items():
        assert right[f"{name}_low"] < expected < right[f"{name}_high"]
        assert right[f"{name}_low"] < right[name] < right[f"{name}_high"]
    assert blind["auc_low"] < 0.5 < blind["auc_high"]
    few = detection(frames[0], frames[1][:300], ["right"]).iloc[0]
    assert np.isnan(few["tpr_1"]) and not np.isnan(few["tpr_5"])


def resampled_excess(members, unseen, draws):
    """The AUC of a score minus that of ``blind``, where texts are drawn anew for both at once."""
    kinds = [1] * len(members) + [0] * len(unseen)
    for seed in range(draws):
        parts = [part.sample(frac=1, replace=True, random_state=seed) for part in (members, unseen)]
        both = pd.concat(parts)
        yield roc_auc_score(kinds, both["score"]) - roc_auc_score(kinds, both["blind"])


@pytest.mark.parametrize("noise", [0.2, 3.0])
def test_what_exceeds_the_blind_score_is_of_the_same_texts(noise):
    frames = []
    for i, shift in enumerate((0.6, 0.0)):
        blind = normal(i, 150) + shift
        frames.append(pd.DataFrame({"score": blind + noise * normal(i + 5, 150), "blind": blind}))
    score, blind = detection(*frames, ["score", "blind"]).to_dict("records")
    assert score["over_blind"] == score["auc"] - blind["auc"]
    assert [blind[f"over_blind{end}"] for end in ("", "_low", "_high")] == [0, 0, 0]
    ends = [score["over_blind_low"], score["over_blind_high"]]
    expected = np.quantile([*resampled_excess(*frames, 300)], [0.025, 0.975])
    assert ends == pytest.approx(expected.tolist(), abs=0.02)
    # A score that hardly differs from the blind one is compared far better than either is known.
    width, alone = np.diff(ends)[0], score["auc_high"] - score["auc_low"]
    assert (width < alone / 3) == (noise < 1)


def test_the_table_to_read_fits_a_terminal():
    frames = [
        pd.DataFrame({name: normal(i + j, 999) - i for j, name in enumerate(SCORES)})
        for i in range(2)
    ]
    texts = detection_texts(detection(*frames, [*SCORES]))
    lines = texts.to_string(index=False).splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) == len(SCORES) + 1
    assert texts["tpr_1"].unique().tolist() == ["too few"]
    row = pd.DataFrame(
        {
            f"{name}{end}": [value]
            for name in ("auc", "over_blind", "tpr_1", "tpr_5")
            for end, value in zip(("", "_low", "_high"), (-0.001, -0.014, 0.126))
        }
    )
    shown = detection_texts(row.assign(score="blind"))
    assert shown["over_blind"].tolist() == ["0.00 [-0.01, 0.13]"]


@pytest.fixture(scope="module")
def verses():
    corpus = load_corpus("kjv")
    return [
        corpus.tokenizer.decode(block, skip_special_tokens=True) for block in corpus.test[:1200]
    ]


def test_texts_of_another_kind_are_noticed(verses, monkeypatch):
    monkeypatch.setattr(significance, "PERMUTATIONS", 99)
    modern = {" unto ": " to ", " thou ": " you ", " thy ": " your ", " shall ": " will "}
    changed = []
    for verse in verses[:150]:
        for old, new in modern.items():
            verse = verse.replace(old, new)
        changed.append(verse)
    assert two_sample_p_value(changed, verses[200:500]) <= 0.01
    assert two_sample_p_value([verse.upper() for verse in verses[:30]], verses[200:300]) <= 0.01
    assert two_sample_p_value(verses[:19], verses[20:200]) is None


@pytest.mark.slow
def test_texts_of_one_kind_pass(verses, monkeypatch):
    monkeypatch.setattr(significance, "PERMUTATIONS", 99)
    order = np.random.default_rng(0)
    p_values = []
    for _ in range(12):
        mixed = [verses[i] for i in order.permutation(len(verses))[:120]]
        p_values.append(two_sample_p_value(mixed[:40], mixed[40:]))
    assert within_binomial_error(sum(p <= 0.2 for p in p_values), 12, 0.2)
    assert min(p_values) >= 1 / 100
