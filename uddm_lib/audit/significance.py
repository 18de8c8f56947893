"""From scores to statements: p-values against unseen texts, and whether these can be trusted."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import false_discovery_control, mannwhitneyu
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.preprocessing import KernelCenterer, StandardScaler

from uddm_lib.statistics.summary import bootstrap_means

__all__ = [
    "conformal_p_values",
    "detection",
    "detection_texts",
    "discoveries",
    "set_p_value",
    "two_sample_p_value",
]

LEAST = 20  # texts of each kind that the two-sample test needs
MOST = 500  # that it takes
PERMUTATIONS = 999
RIDGE = 10.0  # against a mean square of 1 of the centred features
TINY = 1e-9  # what is smaller is rounding
DRAWS = 1000  # of the bootstrap
COLUMNS = """\
over_blind is the AUC minus that of blind, which asks no model: only this excess counts.
tpr_1 and tpr_5 are the shares of members found at false-positive rates of 1 and 5 %."""


def conformal_p_values(
    scores: Float[np.ndarray, " k"], unseen: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " k"]:
    """p-values of "this text is like the unseen ones": (1 + unseen scores that reach it) / (m + 1).

    They hold for any score and any model, if unseen text and reference are exchangeable.
    """
    above = len(unseen) - np.searchsorted(np.sort(unseen), scores, side="left")
    return (1 + above) / (len(unseen) + 1)


def discoveries(p_values: Float[np.ndarray, " k"], level: float) -> Bool[np.ndarray, " k"]:
    """Texts that stand out, with an expected share of false ones of at most ``level``.

    By Benjamini and Hochberg (1995); conformal p-values of one reference allow it (Bates et al.
    2023, arXiv 2104.08279).
    """
    return np.asarray(false_discovery_control(p_values) <= level)


def set_p_value(scores: Float[np.ndarray, " k"], unseen: Float[np.ndarray, " m"]) -> float:
    """One p-value for all texts together: the rank-sum test of "no larger than the unseen ones"."""
    return float(mannwhitneyu(scores, unseen, alternative="greater").pvalue)


def two_sample_p_value(texts: Sequence[str], unseen: Sequence[str], seed: int = 1) -> float | None:
    """p-value of "both are texts of one kind", by classifiers that ask no model.

    Ridge regressions tell the two apart on texts that they were not fitted to: one by runs of up
    to four characters, one by words, one by shares of kinds of characters, length and
    compressibility. The best of the three counts, each measured by its deviation from what it
    gives after permutations of the labels. The best after each permutation is what it is held
    against, so the p-value is exact, and at least 0.001. (Classifiers as tests: Lopez-Paz and
    Oquab 2017, arXiv 1610.06545.)

    Args:
        texts, unseen: the first 500 of a random order of each are taken.
        seed: of the order and the permutations.

    Returns:
        The p-value; None where there are fewer than 20 texts of a kind.
    """
    if min(len(texts), len(unseen)) < LEAST:
        return None
    generator = np.random.default_rng(seed)
    taken = [[part[i] for i in generator.permutation(len(part))[:MOST]] for part in (texts, unseen)]
    labels = np.repeat([1.0, 0.0], [len(part) for part in taken])
    labels -= labels.mean()
    permuted = generator.permuted(np.tile(labels, (PERMUTATIONS, 1)), axis=1)
    labels = np.vstack([labels, permuted]).T
    both = [text for part in taken for text in part]
    found = np.stack([_told_apart(kernel, labels) for kernel in _kernels(both)])
    # Features that all texts share, or none does, say the same of all labels, up to rounding.
    spread = found.std(1, keepdims=True).clip(min=TINY)
    best = ((found - found.mean(1, keepdims=True)) / spread).max(0)
    return float((best >= best[0]).mean())


def _kernels(texts: Sequence[str]) -> list[Float[np.ndarray, "k k"]]:
    """How alike each two texts are: by runs of characters, by words, and by shares."""
    shares = StandardScaler().fit_transform(_blind_features(texts))
    return [
        linear_kernel(
            TfidfVectorizer(lowercase=False, sublinear_tf=True, **pieces).fit_transform(texts)
        )
        for pieces in (
            {"analyzer": "char", "ngram_range": (1, 4)},
            {"token_pattern": r"\w+|[^\w\s]"},
        )
    ] + [rbf_kernel(shares, gamma=1 / (2 * shares.shape[1]))]  # one over the mean distance


def _told_apart(
    kernel: Float[np.ndarray, "k k"], labels: Float[np.ndarray, "k p"]
) -> Float[np.ndarray, " p"]:
    """Correlation of labels with a ridge regression's predictions, each without its own text."""
    kernel = KernelCenterer().fit_transform(kernel)
    kernel *= len(kernel) / max(np.trace(kernel), TINY)
    fitted = kernel @ np.linalg.inv(kernel + RIDGE * np.eye(len(kernel)))
    own = np.diag(fitted)[:, None]
    # In closed form: leaving a text out takes its own share off its prediction.
    predicted = (fitted @ labels - own * labels) / (1 - own)
    return (predicted * labels).sum(0) / np.linalg.norm(predicted, axis=0).clip(min=TINY)


def _blind_features(texts: Sequence[str]) -> Float[np.ndarray, "k 8"]:
    kinds = (r"[A-Z]", r"[a-z]", r"\d", r"\s", r"[^\w\s]", r"[^\x00-\x7f]")
    rows = []
    for text in texts:
        length = max(len(text), 1)
        shares = [len(re.findall(kind, text)) / length for kind in kinds]
        rows.append([*shares, np.log(length), len(zlib.compress(text.encode(), 9)) / length])
    return np.array(rows)


def detection(
    members: pd.DataFrame, unseen: pd.DataFrame, scores: Sequence[str], seed: int = 1
) -> pd.DataFrame:
    """How well scores tell known members from unseen texts, with 95 % intervals over texts.

    Args:
        members, unseen: a row a text, a column a score; both have ``blind``, which asks no model.
        scores: their names.
        seed: of the bootstrap.

    Returns:
        A table with a row a score: ``auc``; ``over_blind``, the AUC minus that of ``blind`` (both
        are of the same resampled texts); and ``tpr_1`` and ``tpr_5``, the shares of members found
        at false-positive rates of 1 % and 5 % (NaN where fewer than 1,000 or 200 unseen texts
        cannot tell). Each has ``_low`` and ``_high``.
    """
    pairs = [(members[score].to_numpy(), unseen[score].to_numpy()) for score in [*scores, "blind"]]
    values, drawn = _aucs(pairs, seed)
    rows = []
    for i, score in enumerate(scores):
        row: dict[str, float | str] = {"score": score}
        for name, value, draws, least in (
            ("auc", values[i], drawn[i], 0),
            ("over_blind", values[i] - values[-1], drawn[i] - drawn[-1], -1),
            *((f"tpr_{rate}", *_tpr(*pairs[i], rate / 100, seed), 0) for rate in (1, 5)),
        ):
            ends = np.quantile(draws, [0.025, 0.975]) if len(draws) else np.full(2, np.nan)
            low, high = np.clip(ends, least, 1)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def detection_texts(table: pd.DataFrame) -> pd.DataFrame:
    """The table of :func:`detection` to read: ``0.67 [0.62, 0.71]``, or ``too few`` texts."""
    texts = {"score": table["score"].tolist()}
    for name in ("auc", "over_blind", "tpr_1", "tpr_5"):
        rows = zip(table[name], table[f"{name}_low"], table[f"{name}_high"])
        texts[name] = [
            "too few" if np.isnan(value) else f"{value:z.2f} [{low:z.2f}, {high:z.2f}]"
            for value, low, high in rows
        ]
    return pd.DataFrame(texts)


def _aucs(
    pairs: Sequence[tuple[Float[np.ndarray, " k"], Float[np.ndarray, " m"]]], seed: int
) -> tuple[Float[np.ndarray, " scores"], Float[np.ndarray, "scores draws"]]:
    """AUCs of several scores of the same texts, and draws of them over the same resamples."""
    values, over_a, over_b = [], [], []
    for a, b in pairs:
        # The AUC is the mean over members of the share of unseen texts below them, and vice versa.
        below = (a[:, None] > b).astype(float) + 0.5 * (a[:, None] == b)
        over_a.append(below.mean(1))
        over_b.append(below.mean(0))
        kinds = np.array([1] * len(a) + [0] * len(b))
        values.append(roc_auc_score(kinds, np.concatenate([a, b])))
    generator = np.random.default_rng(seed)
    draws = bootstrap_means(np.stack(over_a), DRAWS, generator)
    draws += bootstrap_means(np.stack(over_b), DRAWS, generator)
    return np.array(values), draws - np.array(values)[:, None]


def _tpr(
    a: Float[np.ndarray, " k"], b: Float[np.ndarray, " m"], rate: float, seed: int
) -> tuple[float, Float[np.ndarray, " draws"]]:
    if len(b) < 10 / rate:
        return np.nan, np.empty(0)
    generator = np.random.default_rng(seed)

    def share(members: Float[np.ndarray, " k"], unseen: Float[np.ndarray, " m"]) -> float:
        return float((members > np.quantile(unseen, 1 - rate, method="higher")).mean())

    draws = [share(generator.choice(a, len(a)), generator.choice(b, len(b))) for _ in range(DRAWS)]
    return share(a, b), np.array(draws)
