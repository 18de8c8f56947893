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


def test_tables_of_a_sweep_are_collected_small_models_first(tmp_path):
    tables = run_tables(sequences=2)
    shapes = {"pico": (2, 32), "nano": (2, 64)}
    for size, (blocks, width) in shapes.items():
        for n in NS:
            folder = tmp_path / results.run_name("markov", size, n)
            results.open_run(
                folder, {"corpus": "markov", "n": n, "n_blocks": blocks, "hidden_size": width}
            )
            for name, table in tables.items():
                mine = table[(table["size"] == size) & (table["n"] == n)]
                results.write_table(mine, folder / f"{name}.csv", {})
    found = collect.collect(tmp_path)
    assert found["validation"]["size"].tolist() == ["pico"] * 4 + ["nano"] * 4
    assert found["validation"]["n"].tolist() == [*NS, *NS]
    saved = collect.figure_tables(found)
    for name, table in saved.items():
        results.write_table(table, tmp_path / "kept" / f"{name}.csv", {})
    again = collect.read_tables(tmp_path / "kept")
    for name, table in saved.items():
        pd.testing.assert_frame_equal(again[name], table, check_dtype=False)
    (folder / "basins.csv").unlink()
    with pytest.raises(
        FileNotFoundError, match="unfinished runs, without markov-nano-n004096/basins.csv"
    ):
        collect.collect(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no run"):
        collect.collect(tmp_path / "kept")
