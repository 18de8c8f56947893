"""Figures, tables and claims come out for every sweep, however small or uneven."""

import re

import numpy as np
import pandas as pd
import pytest

from helpers.paths import ROOT
from helpers.tables import run_tables
from uddm_lib import figures
from uddm_lib.statistics import claims, collect, transition


def sweep(corpus="markov", seeds=(1, 2)):
    """Made-up tables of a sweep, with the columns that claims need."""
    tables = run_tables(corpus, sequences=4, seeds=seeds)
    entropy, tokens = tables["sequence_entropy"], tables["token_entropy"]
    copies = np.where(entropy["set"] == "generated", 0.5, np.nan)
    tables["sequence_entropy"] = entropy.assign(overlap=copies)
    tables["token_entropy"] = tokens.assign(sequence=np.arange(len(tokens)) % 30)
    return tables


def chosen(query, *names, **options):
    """The rows of a sweep that a query chooses, in all tables or in some of them."""
    tables = sweep(**options)
    names = names or tables.keys() - {"corpora"}
    return {
        name: table.query(query).reset_index(drop=True) if name in names else table
        for name, table in tables.items()
    }


def changed(name, **columns):
    """A sweep with other columns in one table."""
    tables = sweep()
    return tables | {name: tables[name].assign(**columns)}


def of_a_text():
    one = chosen("size == 'pico' and n == 8", corpus="text:books/a$\\b$.txt", seeds=(1,))
    for name in ("recovery", "basins", "sequence_entropy"):
        one[name] = one[name].query("denoiser == 'network'").reset_index(drop=True)
    return one | {"corpora": one["corpora"].assign(entropy=np.nan)}


def of_one_sequence():
    one = chosen("size == 'pico' and n == 8", seeds=(1,))
    return {name: table.assign(n=1) if "n" in table else table for name, table in one.items()}


def of_two_corpora():
    parts = sweep(), sweep("text:b.txt", seeds=(1,))
    return {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}


FAST = "one run on a text"
SWEEPS = {
    FAST: of_a_text,
    "one training sequence": of_one_sequence,
    "one n": lambda: chosen("n == 64"),
    "two n": lambda: chosen("n in (8, 64)"),
    "one size": lambda: chosen("size == 'pico'"),
    "each size its own n": lambda: chosen("(size == 'pico') == (n <= 64)"),
    "seeds at one n": lambda: chosen("seed == 1 or n == 8"),
    "no small t": lambda: chosen("t == 0.5", "recovery"),
    "no t up to a half": lambda: {
        **sweep(),
        "recovery": chosen("t == 0.5", "recovery")["recovery"].assign(t=1.0),
    },
    "no small share": lambda: chosen("share > 0.5", "basins"),
    "no corrupted token": lambda: changed("recovery", recovered=np.nan),
    "no failed token": lambda: chosen("outcome == 'recovered'", "token_entropy"),
    "no tokens of a size": lambda: chosen("size == 'nano'", "token_entropy"),
    "one sequence": lambda: chosen("sequence == 0", "recovery", "basins", "sequence_entropy"),
    "nothing generated": lambda: chosen("set != 'generated'", "sequence_entropy"),
    "no entropy": lambda: changed("sequence_entropy", entropy=0.0),
    "two corpora": of_two_corpora,
}

PICTURES = (ROOT / "paper_figures" / "desktop").glob("*.png")
KINDS = sorted(path.stem.removesuffix("_kjv") for path in PICTURES)


def drawn(tables, corpus):
    """Every figure of notebook 05."""
    recovery, examples = tables["figure2_recovery"], tables["figure3_examples"]
    basins, auc = tables["figure1_basins"], tables["token_auc"]
    tokens, sequences = tables["figure3_token_entropy"], tables["figure4_sequence_entropy"]
    yield figures.figure2(recovery, corpus, trainings=tables["figure2_trainings"])
    yield figures.figure2_full(recovery, corpus)
    yield figures.phase_diagram(recovery, tables["transition"], corpus, tables["corpora"])
    yield figures.figure1(basins, corpus, examples)
    yield figures.figure6_basins(basins, corpus)
    yield figures.figure3(examples, tokens, corpus, auc=auc)
    yield figures.figure12_token_entropy(tokens, corpus, auc)
    yield figures.figure9_stability(examples, corpus)
    yield figures.figure4(sequences, corpus)
    yield figures.figure15_sequence_entropy(sequences, corpus)
    gap, trainings = tables["entropy_gap"], tables["figure5_trainings"]
    yield figures.figure5(tables["figure5_entropy"], gap, corpus, trainings)
    yield figures.perplexity(tables["perplexity"], corpus, tables["corpora"])


@pytest.mark.parametrize(
    "name", [FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SWEEPS if name != FAST)]
)
def test_everything_comes_out(name):
    runs = SWEEPS[name]()
    tables = collect.figure_tables(runs)
    for corpus in runs["recovery"]["corpus"].unique():
        for figure in drawn(tables, corpus):
            figure.draw_without_rendering()
        for kind in KINDS:
            caption = figures.caption(f"{kind}_{corpus}", tables)
            assert not re.search(r"\bnan\b|[{}]", caption), caption
    verdicts = claims.evaluate(runs, draws=20)
    assert set(verdicts["corpus"]) == set(runs["recovery"]["corpus"])
    assert claims.counts(verdicts).to_numpy().sum() == len(claims.folded(verdicts))
    assert claims.markdown(verdicts).count("\n") == verdicts["name"].nunique() + 1
    limits = runs["recovery"].query("denoiser == 'memorizer'")["corpus"]
    assert set(transition.distances(tables)["corpus"]) == set(limits)
