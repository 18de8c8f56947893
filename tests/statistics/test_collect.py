import itertools

import numpy as np
import pandas as pd
import pytest

from helpers.tables import NS, SIZES, run_tables
from uddm_lib import results
from uddm_lib.data import chain_entropy, markov_chain
from uddm_lib.statistics import collect
from uddm_lib.statistics.summary import RUN_COLUMNS, of_denoiser


def test_figure_tables_are_small_and_complete():
    drawn = collect.figure_tables(run_tables())
    assert set(drawn) == set(collect.FIGURE_TABLES)
    assert len(drawn["figure2_recovery"]) == len(SIZES) * len(NS) * 7 * 2  # set and denoiser, t
    assert set(drawn["figure3_examples"]["n"]) == {min(NS), max(NS)}
    shares = drawn["figure4_sequence_entropy"].groupby(["size", "n", "set"])["share"].sum()
    assert np.allclose(shares, 1)
    train = (
        drawn["figure5_entropy"]
        .query("size == 'pico' and n == 4096 and set == 'train' and denoiser == 'network'")["mean"]
        .item()
    )
    assert train == pytest.approx(0.6 + 0.45 / 16, abs=0.01)


def test_figure_tables_average_over_trainings():
    runs = run_tables(seeds=(2, 3, 5))
    drawn = collect.figure_tables(runs)
    one = collect.figure_tables(run_tables())
    for name, table in drawn.items():
        trainings = 3 if name in ("figure2_trainings", "figure5_trainings") else 1
        assert len(table) == trainings * len(one[name]), name
    for name in (
        "figure1_basins",
        "figure2_recovery",
        "figure5_entropy",
        "entropy_gap",
        "perplexity",
    ):
        assert (drawn[name]["seeds"] == 3).all() and (one[name]["seeds"] == 1).all()
    assert (drawn["figure3_examples"]["seed"] == 2).all()
    counted = drawn["figure4_sequence_entropy"].groupby(["size", "n", "set"])["count"].sum()
    assert (counted == 30).all()


def test_perplexity_is_that_of_the_mean_nelbo():
    runs = run_tables(seeds=(1, 2, 3))["validation"]
    table = collect.figure_tables(run_tables(seeds=(1, 2, 3)))["perplexity"]
    columns = [*RUN_COLUMNS, "nelbo", "perplexity", "low", "high", "seeds"]
    assert table.columns.tolist() == columns
    first = runs["nelbo"].head(3)
    assert table.loc[0, "nelbo"] == pytest.approx(first.mean())
    ends = table.loc[0, ["low", "perplexity", "high"]].astype(float)
    half = 4.303 * first.std() / 3**0.5  # Student's t, two degrees of freedom
    expected = [first.mean() - half, first.mean(), first.mean() + half]
    assert np.log(ends).tolist() == pytest.approx(expected, abs=0.03 * half)
    one = collect.figure_tables(run_tables())["perplexity"]
    assert (one["low"] == one["perplexity"]).all() and (one["high"] == one["perplexity"]).all()


def test_tables_without_seeds_are_those_of_one_training():
    runs = run_tables()
    without = {name: table.drop(columns="seed", errors="ignore") for name, table in runs.items()}
    expected = collect.figure_tables(runs)
    for name, table in collect.figure_tables(without).items():
        pd.testing.assert_frame_equal(
            table, expected[name].drop(columns="seed", errors="ignore"), obj=name
        )


def write_runs(folder, provenance, seeds=(1,), corpus="markov"):
    """A made-up sweep on disk; ``provenance`` gives that of the tables of a size and n."""
    tables = run_tables(corpus, sequences=2, seeds=seeds)
    shapes = {"pico": (2, 32), "nano": (2, 64)}
    for size, n, seed in itertools.product(shapes, NS, seeds):
        blocks, width = shapes[size]
        run = folder / (results.run_name(corpus, size, n, seed))
        about = {"corpus": corpus, "n": n, "n_blocks": blocks, "hidden_size": width}
        about |= {"vocab_size": 32, "length": 16, "corpus_seed": 1}
        results.open_run(run, {**about, "seed": seed})
        for name in collect.RUN_TABLES:
            table = tables[name]
            mine = table[(table["size"] == size) & (table["n"] == n) & (table["seed"] == seed)]
            results.write_table(mine, run / f"{name}.csv", provenance(size, n))
    return run


def test_trainings_of_a_point_are_collected_by_their_seed(tmp_path):
    write_runs(tmp_path, lambda size, n: {}, seeds=(10, 2))
    validation = collect.read_runs(tmp_path)["validation"]
    assert validation["n"].tolist() == [n for n in NS for _ in range(2)] * 2
    assert validation["seed"].tolist() == [2, 10] * len(NS) * 2


def test_tables_of_a_sweep_are_collected_small_models_first(tmp_path):
    last = write_runs(tmp_path, lambda size, n: {})
    joined = collect.read_runs(tmp_path)
    assert joined["validation"]["size"].tolist() == ["pico"] * 4 + ["nano"] * 4
    assert joined["validation"]["n"].tolist() == [*NS, *NS]
    saved = collect.figure_tables(joined)
    save(saved, tmp_path / "kept")
    again = collect.read_figure_tables(tmp_path / "kept")
    for name, table in saved.items():
        pd.testing.assert_frame_equal(again[name], table, check_dtype=False)
    (last / "basins.csv").unlink()
    without = collect.read_runs(tmp_path, [last.name, "no such run"])
    assert without["validation"]["n"].tolist() == [*NS, *NS[:-1]]
    with pytest.raises(
        FileNotFoundError, match="unfinished runs, without markov-nano-n004096-s1/basins.csv"
    ):
        collect.read_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        collect.read_runs(tmp_path / "kept")


def save(tables, folder, about=None):
    for name, table in {**tables, "claims": tables["corpora"][["corpus"]]}.items():
        results.write_table(table, folder / f"{name}.csv", about or {})


def test_a_corpus_is_that_of_the_first_folder_of_figures(tmp_path):
    one = collect.figure_tables(run_tables(sequences=2))
    for folder, corpora in {"a": ["markov"], "b": ["markov", "kjv"]}.items():
        tables = {
            name: pd.concat([table.assign(corpus=corpus, made=folder) for corpus in corpora])
            for name, table in one.items()
        }
        save(tables, tmp_path / folder, {"commit": folder, "code": folder})
    a, b = tmp_path / "a", tmp_path / "b"
    for folders, made in (
        ([a, b], {"markov": "a", "kjv": "b"}),
        ([b, a], {"markov": "b", "kjv": "b"}),
        (a, {"markov": "a"}),
    ):
        tables = collect.read_figure_tables(folders)
        for name, table in one.items():
            assert len(tables[name]) == len(made) * len(table), name
            found = tables[name][["corpus", "made"]].drop_duplicates()
            assert dict(found.itertuples(index=False)) == made, name
        assert tables["claims"]["corpus"].tolist() == list(made)
        codes = tables["claims"].attrs["provenance"]["inputs"]["code"]
        assert codes == sorted(set(made.values()))
    with pytest.raises(ValueError, match="folders: give at least one"):
        collect.read_figure_tables([])


def test_corpora_are_described_from_their_runs(tmp_path):
    write_runs(tmp_path, lambda size, n: {})
    write_runs(tmp_path, lambda size, n: {}, corpus="kjv")
    found = collect.read_runs(tmp_path)["corpora"].set_index("corpus")
    assert found[["vocab_size", "tokens"]].to_numpy().tolist() == [[32, 16]] * 2
    entropy = chain_entropy(*markov_chain(32, seed=1), 16) / 16
    assert found.loc["markov", "entropy"] == pytest.approx(entropy)
    assert np.isnan(found.loc["kjv", "entropy"])


def test_single_trainings_average_to_the_mean():
    drawn = collect.figure_tables(run_tables(sequences=4, seeds=(1, 2, 3)))
    for figure, by in (("figure2_recovery", ["set", "t"]), ("figure5_entropy", ["set"])):
        keys = [*RUN_COLUMNS, *by]
        trainings = drawn[figure.replace("recovery", "trainings").replace("entropy", "trainings")]
        assert (trainings.groupby(keys)["seed"].nunique() == 3).all()
        means = of_denoiser(drawn[figure]).set_index(keys)["mean"].sort_index()
        found = trainings.groupby(keys)["mean"].mean()
        assert found.to_numpy() == pytest.approx(means.to_numpy())


def test_runs_that_were_measured_differently_are_named(tmp_path):
    write_runs(tmp_path, lambda size, n: {"parameters": {"steps": 20, "limits": n == 8}})
    collect.read_runs(tmp_path)  # limits are of one seed alone
    table = results.read_table(tmp_path / "markov-nano-n004096-s1" / "recovery.csv")
    changed = {"parameters": {"steps": 40, "limits": False}}
    results.write_table(table, tmp_path / "markov-nano-n004096-s1" / "recovery.csv", changed)
    with pytest.warns(UserWarning, match="tables recovery.csv of markov were measured with diff"):
        collect.read_runs(tmp_path)


def test_figure_tables_carry_the_versions_of_the_runs(tmp_path):
    write_runs(tmp_path, lambda size, n: {"commit": "a" if n == 8 else "b", "code": "1"})
    tables = collect.figure_tables(collect.read_runs(tmp_path))  # one code: no warning
    for table in tables.values():
        inputs = {"commits": ["a", "b"], "code": ["1"]}
        assert table.attrs["provenance"] == {"inputs": inputs}


def test_runs_of_different_versions_are_said_to_be_mixed(tmp_path):
    write_runs(tmp_path, lambda size, n: {"commit": "a", "code": "1" if size == "pico" else "2"})
    with pytest.warns(UserWarning, match="2 versions of the code made these runs .commits a."):
        tables = collect.read_runs(tmp_path)
    assert tables["recovery"].attrs["provenance"]["inputs"]["code"] == ["1", "2"]


def test_shipped_figure_tables_can_be_read():
    for table in collect.read_figure_tables("paper_figures/laptop").values():
        assert len(table) and results.input_versions([table.attrs["provenance"]])["code"]
