import numpy as np
import pandas as pd
import pytest

from helpers.tables import NS, SIZES, run_tables
from uddm_lib import results
from uddm_lib.statistics import collect


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


def write_runs(folder, provenance):
    """A made-up sweep on disk; ``provenance`` gives that of the tables of a size and n."""
    tables = run_tables(sequences=2)
    shapes = {"pico": (2, 32), "nano": (2, 64)}
    for size, (blocks, width) in shapes.items():
        for n in NS:
            run = folder / results.run_name("markov", size, n)
            results.open_run(
                run, {"corpus": "markov", "n": n, "n_blocks": blocks, "hidden_size": width}
            )
            for name, table in tables.items():
                mine = table[(table["size"] == size) & (table["n"] == n)]
                results.write_table(mine, run / f"{name}.csv", provenance(size, n))
    return run


def test_tables_of_a_sweep_are_collected_small_models_first(tmp_path):
    last = write_runs(tmp_path, lambda size, n: {})
    joined = collect.read_runs(tmp_path)
    assert joined["validation"]["size"].tolist() == ["pico"] * 4 + ["nano"] * 4
    assert joined["validation"]["n"].tolist() == [*NS, *NS]
    saved = collect.figure_tables(joined)
    for name, table in saved.items():
        results.write_table(table, tmp_path / "kept" / f"{name}.csv", {})
    again = collect.read_figure_tables(tmp_path / "kept")
    for name, table in saved.items():
        pd.testing.assert_frame_equal(again[name], table, check_dtype=False)
    (last / "basins.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match="unfinished runs, without markov-nano-n004096/basins.csv"
    ):
        collect.read_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        collect.read_runs(tmp_path / "kept")


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
