import itertools
import math
import os
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest

from helpers.tables import NS, SIZES, run_tables
from uddm_lib import figures
from uddm_lib.statistics import collect, transition
from uddm_lib.theory import condensation


@pytest.fixture(scope="module")
def tables():
    return collect.figure_tables(run_tables())


@pytest.fixture(scope="module")
def three():
    """Tables of three trainings a point."""
    return collect.figure_tables(run_tables(sequences=4, seeds=(1, 2, 3)))


def limits(axis):
    """How many thin curves of exact limits an axis has, by line style."""
    styles = [line._linestyle for line in axis.lines if line.get_linewidth() == 0.8]
    return {style: styles.count(style) for style in set(styles)}


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_figure6_has_a_panel_per_size_and_set_and_a_curve_per_n(tables):
    figure = figures.figure6_basins(tables["figure1_basins"], "markov")
    assert len(figure.axes) == 2 * len(SIZES)
    for axis in figure.axes:
        assert len(axis.containers) == len(NS) + 1  # and the control
        assert sum(limits(axis).values()) == len(NS) + 1  # a memorizer for every n, one generalizer
    assert (
        labels(figure)[:4] == ["n = 8", "n = 64", "n = 512", "n = 4,096"]
        and "control" in labels(figure)[4]
    )
    assert [label.partition("\n")[0] for label in labels(figure)[5:]] == [
        "exact memorizer",
        "exact generalizer",
        "one training a point,",
    ]
    first = figure.axes[0].containers[0].lines[0].get_xydata()
    drawn = tables["figure1_basins"].query(
        "size == 'pico' and n == 8 and set == 'train' and denoiser == 'network'"
    )
    assert first.tolist() == drawn[["share", "mean"]].to_numpy().tolist()


def test_figure1_is_of_one_size(tables):
    for size, drawn in ((None, "nano"), ("pico", "pico")):
        figure = figures.figure1(tables["figure1_basins"], "markov", size=size)
        titles = [axis.get_title(loc="left") for axis in figure.axes]
        assert titles == [f"A  training sequences, {drawn}", f"B  unseen test sequences, {drawn}"]


def test_figure1_shows_the_greedy_examples_of_the_largest_size_below(tables):
    figure = figures.figure1(tables["figure1_basins"], "markov", tables["figure3_examples"])
    assert len(figure.subfigs) == 2 and len(figure.subfigs[1].axes) == 4
    title = figure.subfigs[1]._suptitle.get_text()
    assert "10% of the tokens corrupted, restored greedily: Markov chain, nano" in title
    stochastic = tables["figure3_examples"].query("process == 'stochastic'")
    with pytest.raises(
        ValueError, match="process='greedy' is not in the table; it holds stochastic"
    ):
        figures.figure1(tables["figure1_basins"], "markov", stochastic)


def test_figure2_has_a_color_per_size_at_one_time(tables):
    figure = figures.figure2(tables["figure2_recovery"], "markov", t=0.5)
    axis = figure.axes[0]
    curves = [line for line in axis.lines if line.get_linewidth() == 1.4]
    assert [line.get_linestyle() for line in curves] == ["-"] * len(SIZES) + ["--"] * len(SIZES)
    assert len({line.get_color() for line in curves}) == len(SIZES)
    drawn = tables["figure2_recovery"].query(
        "size == 'nano' and t == 0.5 and set == 'test' and denoiser == 'network'"
    )
    assert curves[-1].get_xydata().tolist() == drawn[["n", "mean"]].to_numpy().tolist()
    assert sum(limits(axis).values()) == 3 and "t = 0.5" in axis.get_ylabel()
    assert "t = 0.1" in figures.figure2(tables["figure2_recovery"], "markov").axes[0].get_ylabel()
    assert labels(figure)[: len(SIZES)] == list(SIZES)
    assert "control: random sequences,\nat most 0.0" in "".join(labels(figure))
    with pytest.raises(ValueError, match="t=0.3 is not in the table; it has 0.1, 0.5"):
        figures.figure2(tables["figure2_recovery"], "markov", t=0.3)


def bands(axis):
    """The intervals that an axis shows as filled bands, as (n, low, high)."""
    areas = [path.vertices for area in axis.collections for path in area.get_paths()]
    return [(n, *sorted({y for x, y in area if x == n})) for area in areas for n in set(area[:, 0])]


def test_bands_are_over_trainings_and_points_of_one_training_have_none(tables, three):
    figure = figures.figure2(tables["figure2_recovery"], "markov")
    assert not bands(figure.axes[0]) and "one training a point,\nno bands" in labels(figure)
    figure = figures.figure2(three["figure2_recovery"], "markov")
    assert any("bands: 95 % over 3 trainings" in label for label in labels(figure))
    row = three["figure2_recovery"].query(
        "size == 'pico' and n == 64 and t == 0.1 and set == 'train' and denoiser == 'network'"
    )
    assert (64, *row[["low", "high"]].to_numpy()[0]) in bands(figure.axes[0])
    mixed = three["figure2_recovery"].assign(seeds=lambda table: 1 + 2 * (table["n"] > 8))
    figure = figures.figure2(mixed, "markov")
    assert "no band at one training" in "".join(labels(figure))
    assert {n for n, *_ in bands(figure.axes[0])} == {64, 512, 4096}


def test_single_trainings_are_thin_lines_where_one_size_leaves_room(three):
    def thin(table, trainings):
        figure = figures.figure2(table, "markov", trainings=trainings)
        lines = [line for line in figure.axes[0].lines if line.get_linewidth() == 0.6]
        assert ("single trainings" in labels(figure)) == bool(lines)
        return lines

    drawn = three["figure2_recovery"], three["figure2_trainings"]
    assert not thin(*drawn)
    pico = [table.query("size == 'pico'") for table in drawn]
    assert len(thin(*pico)) == 2 * 3
    assert not thin(pico[0].assign(seeds=1), pico[1].query("seed == 1"))


def test_figure2_full_has_a_panel_per_size_and_train_and_test_per_t(tables):
    figure = figures.figure2_full(tables["figure2_recovery"], "markov")
    assert [axis.get_title() for axis in figure.axes] == list(SIZES)
    assert len(figure.axes[0].containers) == 2 * 2 + 1
    assert figure.axes[0].get_xscale() == "log" and "n" in figure.axes[0].get_xlabel()
    styles = {container.lines[0].get_linestyle() for container in figure.axes[0].containers}
    assert styles == {"-", "--", ":"}
    assert (
        sum(limits(figure.axes[0]).values()) == 2 * 2 + 2
    )  # memorizer on both sets, generalizer once, for each t


def test_limits_are_drawn_only_where_they_are_known(tables):
    networks = tables["figure2_recovery"].query("denoiser == 'network'")
    for draw in (figures.figure2, figures.figure2_full):
        figure = draw(networks, "markov")
        assert not limits(figure.axes[0]) and not any("exact" in label for label in labels(figure))
    networks = tables["figure5_entropy"].query("denoiser == 'network'")
    for table, count in ((tables["figure5_entropy"], 1), (networks, 0)):
        figure = figures.figure5(table, tables["entropy_gap"], "markov")
        assert sum(limits(figure.axes[0]).values()) == count
        assert ("exact generalizer" in labels(figure)) == bool(count)


def test_figure3_shows_text_and_histograms_of_the_largest_size(tables):
    figure = figures.figure3(tables["figure3_examples"], tables["figure3_token_entropy"], "markov")
    assert len(figure.axes) == 4 + 4
    text = [t.get_text() for t in figure.axes[0].texts]
    assert text[:5] == ["original", "a", "b", "\u00b7", "c"]
    assert "nano" in figure.subfigs[0]._suptitle.get_text()
    assert any("not recovered" in label for sub in figure.subfigs for label in labels(sub))


def test_text_marks_recovered_failed_and_unstable_tokens(tables):
    figure = figures.text_examples(
        tables["figure3_examples"].query("size == 'pico'"), "markov", "greedy"
    )
    kinds = [patch.get_facecolor() for patch in figure.axes[0].patches]
    assert len(kinds) == 3  # one token corrupted, recovered; one untouched yet changed
    assert len(set(kinds)) == 3


def test_figure4_has_a_panel_per_n(tables):
    figure = figures.figure4(tables["figure4_sequence_entropy"], "markov", size="pico")
    shown = [axis for axis in figure.axes if axis.axison]
    titles = [axis.get_title(loc="left").partition(": overlap ") for axis in shown]
    assert [title[0] for title in titles] == ["n = 8", "n = 64", "n = 512", "n = 4,096"]
    assert all(0 <= float(title[2]) <= 1 for title in titles)
    assert "nats per sequence" in shown[-1].get_xlabel()


def test_figure15_has_a_panel_per_size_and_n(tables):
    figure = figures.figure15_sequence_entropy(tables["figure4_sequence_entropy"], "markov")
    assert len(figure.axes) == len(SIZES) * len(NS)
    assert figure.axes[0].get_title(loc="left").startswith("pico, n = 8: overlap")
    assert len(figure.axes[0].patches) == 3 and len(labels(figure)) == 4
    few = tables["figure4_sequence_entropy"].query("set != 'generated'")
    few = few[(few["size"] != "pico") | (few["n"] > 8)]  # no such run
    figure = figures.figure15_sequence_entropy(few, "markov")
    assert not figure.axes[0].axison and figure.axes[1].get_title(loc="left") == "nano, n = 8"


def test_figure5_lays_the_sizes_over_each_other_and_shows_the_gap(three):
    figure = figures.figure5(three["figure5_entropy"], three["entropy_gap"], "markov")
    upper, lower = figure.axes
    assert "nats per token" in upper.get_ylabel()
    curves = [line for line in lower.lines if line.get_marker() != "None"]
    assert len(curves) == len(SIZES)
    gap = three["entropy_gap"].query("size == 'pico'")
    assert curves[0].get_xydata().tolist() == gap[["n", "mean"]].to_numpy().tolist()
    assert (8, *gap[["low", "high"]].to_numpy()[0]) in bands(lower)


def test_figure5_needs_no_generated_sequences(tables):
    entropy = tables["figure5_entropy"].query("set != 'generated'")
    figure = figures.figure5(entropy, tables["entropy_gap"].iloc[:0], "markov")
    assert len(figure.axes) == 1 and figure.axes[0].get_xlabel() == "training sequences n"


def test_figure12_counts_tokens_and_says_how_well_entropy_tells_them_apart(tables):
    bars, auc = tables["figure3_token_entropy"], tables["token_auc"]
    figure = figures.figure12_token_entropy(bars, "markov", auc)
    assert len(figure.axes) == len(SIZES) * 4
    assert figure.axes[0].get_yscale() == "linear"
    value = auc.query("size == 'pico' and n == 8 and set == 'train'")["auc"].item()
    title = f"n = 8, training\n30 recovered, 30 failed\nAUC {value:.2f}"
    assert figure.axes[0].get_title(loc="left") == title
    few = bars[(bars["n"] == 8) & ((bars["size"] != "pico") | (bars["outcome"] == "recovered"))]
    alone = figures.figure12_token_entropy(few, "markov", auc.assign(failed=0, auc=math.nan))
    assert len(alone.axes) == len(SIZES) * 2
    title = "n = 8, training\n30 recovered, 0 failed\nno AUC: under 20 of a kind"
    assert alone.axes[0].get_title(loc="left") == title


def test_figure9_shows_what_changes_at_every_level(tables):
    examples = tables["figure3_examples"].query("set == 'test'")
    levels = pd.concat([examples.assign(level=level) for level in (0.5, 0.05)])
    figure = figures.figure9_stability(levels, "markov", "pico")
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[:2] == [
        "n = 8, greedy; changed: 1 of 3, 1 of 3",
        "n = 4,096, greedy; changed: 1 of 3, 1 of 3",
    ]
    names = [text.get_text() for text in figure.axes[2].texts if len(text.get_text()) > 1]
    assert names == ["original", "t = 0.05", "restored", "t = 0.5", "restored"]
    assert "pico" in figure._suptitle.get_text()
    one = figures.figure9_stability(examples.query("n == 8 and process == 'greedy'"), "markov")
    assert len(one.axes) == 1


def test_text_is_that_of_the_middle_level(tables):
    examples = tables["figure3_examples"]
    levels = pd.concat([examples.assign(level=level) for level in (0.5, 0.05, 0.25)])
    title = figures.text_examples(levels, "markov", "stochastic")._suptitle.get_text()
    assert "restored from t = 0.25" in title


def phase(tables, **options):
    recovery, points = tables["figure2_recovery"], tables["transition"]
    return figures.phase_diagram(recovery, points, "markov", **options)


def test_phase_diagram_has_a_cell_per_point_the_transitions_and_the_condensation(tables):
    figure = phase(tables, corpora=tables["corpora"])
    axis = figure.axes[0]
    cells = axis.collections[0].get_array()
    gaps = transition.gaps(tables["figure2_recovery"]).query("size == 'pico'")
    expected = gaps.pivot(index="t", columns="n", values="gap").to_numpy()
    assert cells.tolist() == expected.tolist()
    point = axis.containers[0].lines[0].get_xydata()
    found = tables["transition"].query("size == 'pico'")[["transition_n", "t"]].to_numpy()
    assert point.tolist() == found.tolist()
    line = axis.lines[-1].get_xydata()
    place = line[np.abs(line[:, 0] - 64).argmin()]
    assert place[1] == pytest.approx(condensation.condensation_time(int(place[0]), 16, 32))
    assert "condensation of\nn random sequences" in labels(figure)


def test_phase_diagram_has_no_key_of_a_line_beyond_it(tables):
    low = tables["figure2_recovery"].query("t == 0.1")
    figure = figures.phase_diagram(low, tables["transition"], "markov", tables["corpora"])
    assert labels(figure) == ["transition,\n95 % interval"]


def test_phase_diagram_needs_no_corpus_nor_transition_nor_grid(tables):
    figure = phase(tables)
    assert len(labels(figure)) == 1
    one = tables["figure2_recovery"].query("n == 64 and t == 0.1 and size == 'pico'")
    never = tables["transition"].assign(transition_n=math.inf, high=math.inf)
    figure = figures.phase_diagram(one, never, "markov", tables["corpora"])
    figure.draw_without_rendering()
    assert figure.axes[0].collections[0].get_array().shape == (1, 1)


def test_phase_diagram_says_where_nothing_was_corrupted(tables):
    recovery, pico = tables["figure2_recovery"], tables["figure2_recovery"]["size"] == "pico"
    lost = recovery.assign(mean=recovery["mean"].mask(pico))
    for table, empty in ((lost, 1), (recovery.assign(mean=math.nan), 2)):
        figure = figures.phase_diagram(table, tables["transition"], "markov", tables["corpora"])
        figure.draw_without_rendering()
        texts = [text.get_text() for axis in figure.axes for text in axis.texts]
        assert texts.count("no gap") == empty
        assert [axis.get_title() for axis in figure.axes[:2]] == list(SIZES)


def test_a_text_of_ones_own_gives_files_and_titles(tables, tmp_path):
    """Its name holds a path, and may hold what would be a formula."""
    name = "text:books/a$\\b$ c.txt"
    table = tables["perplexity"].assign(corpus=name)
    figure = figures.perplexity(table, name)
    figures.save(figure, tmp_path, f"perplexity_{name}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "perplexity_text-books-a-b-c.txt.pdf",
        "perplexity_text-books-a-b-c.txt.png",
    ]
    assert figure.get_suptitle() == "Validation perplexity: a$\\b$ c.txt"


def test_perplexity_has_bands_and_reference_lines(three):
    table, corpora = three["perplexity"], three["corpora"]
    figure = figures.perplexity(table, "markov", corpora)
    assert labels(figure)[: len(SIZES)] == list(SIZES)
    assert labels(figure)[len(SIZES) :] == [
        "uniform guess, V = 32",
        f"source, exp(H) = {math.exp(1.3):.1f}",
        "bands: 95 % over 3 trainings\na point",
    ]
    axis, pico = figure.axes[0], table[table["size"] == "pico"]
    assert axis.lines[0].get_xydata().tolist() == pico[["n", "perplexity"]].to_numpy().tolist()
    assert (8, *pico[["low", "high"]].to_numpy()[0]) in bands(axis)
    assert [line.get_ydata()[0] for line in axis.lines[-2:]] == [32, math.exp(1.3)]
    unknown = figures.perplexity(table, "markov", corpora.assign(entropy=math.nan))
    assert len(unknown.axes[0].lines) == len(axis.lines) - 1
    assert len(figures.perplexity(table, "markov").axes[0].lines) == len(SIZES)


def test_shipped_tables_are_drawn():
    shipped = collect.read_figure_tables("paper_figures/laptop")
    for corpus in shipped["perplexity"]["corpus"].unique():
        assert figures.perplexity(shipped["perplexity"], corpus, shipped["corpora"]).axes[0].lines
        assert figures.figure2(shipped["figure2_recovery"], corpus).axes


def test_recovery_against_time_has_a_panel_per_model(tables):
    one = tables["figure2_recovery"].query("size == 'pico' and n in (8, 4096)")
    figure = figures.recovery_against_time(one, "markov")
    assert [axis.get_title() for axis in figure.axes] == ["pico, n = 8", "pico, n = 4,096"]


@pytest.mark.parametrize("models, rows", [(1, 1), (3, 1), (4, 2), (6, 2), (18, 6)])
def test_recovery_against_time_wraps(tables, models, rows):
    one = tables["figure2_recovery"].query("size == 'pico' and n == 8")
    many = pd.concat([one.assign(n=n) for n in range(8, 8 + models)])
    figure = figures.recovery_against_time(many, "markov")
    shown = [axis for axis in figure.axes if axis.axison]
    assert len(shown) == models and figure.axes[0].get_gridspec().get_geometry()[0] == rows
    assert shown[-1].get_xlabel() == "diffusion time t" and figure.get_figwidth() < 11


def test_token_histograms_show_the_ends_of_many_n(tables):
    bars = tables["figure3_token_entropy"].query("size == 'pico' and n == 8")
    few, many = (
        figures.token_histograms(pd.concat([bars.assign(n=n) for n in counts]), "markov")
        for counts in ((8, 64, 512), (8, 32, 64, 128, 512, 4096))
    )
    assert len(few.axes) == 6 and "smallest" not in few._suptitle.get_text()
    assert [axis.get_title(loc="left").partition("\n")[0] for axis in many.axes] == [
        f"n = {n}, {name}" for n in ("8", "4,096") for name in ("training", "unseen test")
    ]
    assert "pico, at the smallest and the largest of 6 n" in many._suptitle.get_text()


def test_text_of_several_trainings_is_that_of_the_first():
    one = run_tables(sequences=2)["examples"]
    both = pd.concat([one.assign(seed=2, restored="z"), one])
    drawn = [
        [text.get_text() for text in figures.text_examples(table, "markov", "greedy").axes[0].texts]
        for table in (one, both)
    ]
    assert drawn[0] == drawn[1]


def test_saved_figures_repeat_to_the_byte_and_leave_matplotlib_alone(tables, tmp_path):
    before = dict(matplotlib.rcParams)
    for folder in ("a", "b"):
        figures.save(
            figures.figure5(tables["figure5_entropy"], tables["entropy_gap"], "markov"),
            tmp_path / folder,
            "figure5",
            "What is drawn.",
        )
    for suffix in ("png", "pdf"):
        first, second = ((tmp_path / folder / f"figure5.{suffix}").read_bytes() for folder in "ab")
        assert first == second and len(first) > 5_000
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "figure5.pdf",
        "figure5.png",
        "figure5.txt",
    ]
    assert (tmp_path / "a" / "figure5.txt").read_text() == "What is drawn."
    assert dict(matplotlib.rcParams) == before


def test_what_is_missing_is_named(tables):
    with pytest.raises(ValueError, match="corpus='kjv' is not in the table; it holds markov"):
        figures.figure2(tables["figure2_recovery"], "kjv")
    entropy = tables["figure5_entropy"].drop(columns="low")
    with pytest.raises(ValueError, match="no column low"):
        figures.figure5(entropy, tables["entropy_gap"], "markov")


def test_an_unknown_size_is_named(tables):
    with pytest.raises(ValueError, match="size='huge' is not in the table; it holds pico, nano"):
        figures.figure4(tables["figure4_sequence_entropy"], "markov", "huge")
    with pytest.raises(ValueError, match="size='huge'"):
        figures.figure3(
            tables["figure3_examples"], tables["figure3_token_entropy"], "markov", "huge"
        )


@pytest.mark.parametrize("token", ["\t", "\n", "\x01", "\u795e", "", "$a$"])
def test_text_shows_any_token_without_a_warning(tables, token):
    examples = tables["figure3_examples"].assign(original=token)
    figures.text_examples(examples, "markov", "greedy").draw_without_rendering()


def test_long_text_wraps_together_and_says_what_it_leaves_out(tables):
    one = "size == 'pico' and n == 8 and set == 'train' and process == 'greedy' and position == 0"
    row = tables["figure3_examples"].query(one)
    long = pd.concat(
        [
            row.assign(position=i, original="word ", perturbed="wo", restored="wordy ")
            for i in range(126)
        ]
    )
    figure = figures.text_examples(long, "markov", "greedy")
    axis = figure.axes[0]
    assert "first 72 of 126" in axis.get_title(loc="left")
    starts = [text.get_position()[1] for text in axis.texts if text.get_text() == "original"]
    assert len(starts) == 6 and starts == sorted(starts)
    figure.draw_without_rendering()
    letters = [text for text in axis.texts if text.get_text() == "w"]
    tops = sorted({round(text.get_window_extent().y0) for text in letters})
    height = letters[0].get_window_extent().height
    assert all(
        high - low > height for low, high in itertools.pairwise(tops)
    )  # no line runs into the next


@pytest.mark.parametrize("many", [[16], [16, 17, 18, 88_012], list(range(1, 40))])
def test_any_set_of_n_is_drawn(many):
    runs = run_tables(sequences=4)
    one = {
        name: table[(table["n"] == 64) & (table["size"] == "pico")]
        for name, table in runs.items()
        if name != "corpora"
    }
    runs |= {name: pd.concat([table.assign(n=n) for n in many]) for name, table in one.items()}
    drawn = collect.figure_tables(runs)
    figure = figures.figure1(drawn["figure1_basins"], "markov")
    assert (
        len(labels(figure)) == min(len(many), 9) + 4 and labels(figure)[-5] == f"n = {many[-1]:,}"
    )
    ticks = figures.figure2(drawn["figure2_recovery"], "markov").axes[0].get_xticks()
    assert ticks.max() == many[-1] and len(ticks) <= 17


def every_figure(tables):
    recovery, examples = tables["figure2_recovery"], tables["figure3_examples"]
    tokens, auc = tables["figure3_token_entropy"], tables["token_auc"]
    sequences, corpora = tables["figure4_sequence_entropy"], tables["corpora"]
    yield figures.figure1(tables["figure1_basins"], "markov", examples)
    yield figures.figure2(recovery, "markov", trainings=tables["figure2_trainings"])
    yield figures.figure2_full(recovery, "markov")
    yield figures.figure3(examples, tokens, "markov", auc=auc)
    yield figures.figure4(sequences, "markov")
    entropy, gap = tables["figure5_entropy"], tables["entropy_gap"]
    yield figures.figure5(entropy, gap, "markov", tables["figure5_trainings"])
    yield figures.figure6_basins(tables["figure1_basins"], "markov")
    yield figures.figure9_stability(examples, "markov")
    yield figures.figure12_token_entropy(tokens, "markov", auc)
    yield figures.figure15_sequence_entropy(sequences, "markov")
    yield figures.perplexity(tables["perplexity"], "markov", corpora)
    yield figures.phase_diagram(recovery, tables["transition"], "markov", corpora)


def test_every_figure_comes_out_for_the_smallest_sweep():
    """One size, n and training, no known limits, nothing generated, all tokens recovered."""
    runs = run_tables(sequences=2)
    for name in runs.keys() - {"corpora"}:
        table = runs[name]
        table = table[(table["size"] == "pico") & (table["n"] == 8)]
        table = table[table["denoiser"] == "network"] if "denoiser" in table else table
        table = table[table["set"] != "generated"] if "set" in table else table
        runs[name] = table[table["outcome"] == "recovered"] if "outcome" in table else table
    runs["corpora"]["entropy"] = math.nan
    for figure in every_figure(collect.figure_tables(runs)):
        figure.draw_without_rendering()


def test_every_size_has_its_line(tables):
    pico = tables["perplexity"].query("size == 'pico'")
    many = pd.concat([pico.assign(size=size) for size in "abcdef"])
    assert len({line.get_color() for line in figures.perplexity(many, "markov").axes[0].lines}) == 6


def test_figures_do_not_hang_on_a_users_matplotlibrc(tmp_path):
    figures.save(figures.training_curves(log()), tmp_path, "plain")
    foreign = {
        "lines.linewidth": 9,
        "axes.facecolor": "red",
        "font.family": "serif",
        "hatch.linewidth": 5,
    }
    with matplotlib.rc_context(foreign):
        figures.save(figures.training_curves(log()), tmp_path, "foreign")
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "foreign.png").read_bytes()


def test_saved_figures_do_not_hang_on_the_hashes_of_a_process(tmp_path):
    code = (
        "import sys; import pandas as pd; from uddm_lib import figures; "
        "log = pd.DataFrame({'n': 8, 'seed': 1, 'step': [1, 2], "
        "'loss': [2.0, 1.0], 'validation_nelbo': [2.0, 1.5]}); "
        "figures.save(figures.training_curves(log), *sys.argv[1:])"
    )
    for name in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": name,
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), name], check=True, env=environment
        )
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"1.{suffix}").read_bytes() == (tmp_path / f"2.{suffix}").read_bytes()


def log(n=8, seed=1, nelbo=(math.nan, 2.5, 2.2)):
    rows = {"step": [10, 20, 30], "loss": [3.0, 2.0, 1.5], "validation_nelbo": nelbo}
    return pd.DataFrame({"n": n, "seed": seed, **rows})


def test_training_curves_read_in_nats_and_in_perplexity():
    figure = figures.training_curves(log())
    loss, held_out, right = figure.axes
    assert loss.lines[0].get_xydata().tolist() == [[10, 3], [20, 2], [30, 1.5]]
    assert held_out.lines[0].get_xydata().tolist() == [[20, 2.5], [30, 2.2]]
    assert "perplexity" in right.get_ylabel()
    assert loss.get_ylim() == held_out.get_ylim() == right.get_ylim()
    places, ticks = right.get_yticks(), [text.get_text() for text in right.get_yticklabels()]
    assert [round(math.exp(place)) for place in places] == [int(tick) for tick in ticks]
    assert ticks == ["1", "2", "5", "10", "20"]


def test_training_curves_have_levels_in_both_panels_and_a_floor_per_n_in_its_color():
    runs, floors = pd.concat([log(16), log(4096)]), {16: 0.2, 4096: 0.5}
    loss, held_out, _ = figures.training_curves(runs, {"uniform": 2.8}, floors).axes
    for axis in (loss, held_out):
        level = axis.lines[2]
        assert list(level.get_ydata()) == [2.8, 2.8]
        assert [text.get_text() for text in axis.texts] == ["uniform"]
    drawn = {line.get_ydata()[0]: line.get_color() for line in loss.lines[3:]}
    assert drawn == {0.2: loss.lines[0].get_color(), 0.5: loss.lines[1].get_color()}
    assert len(held_out.lines) == 3


@pytest.mark.parametrize("counts, seeds", [([64], 1), ([16, 4096], 1), ([8, 9, 10, 11, 12, 13], 3)])
def test_training_curves_have_a_line_per_training_and_a_color_per_n(counts, seeds):
    runs = pd.concat([log(n, seed) for n in reversed(counts) for seed in range(seeds)])
    figure = figures.training_curves(runs)
    for axis in figure.axes[:2]:
        assert len(axis.lines) == len(counts) * seeds
        assert len({line.get_color() for line in axis.lines}) == len(counts)
        assert "leave" not in axis.get_title()
    assert labels(figure) == [f"n = {n:,}" for n in counts]


def test_training_curves_say_what_leaves_the_panel():
    runs = [log(16, 1, (math.nan, 7.0, 9.0)), log(16, 2, (math.nan, 7.0, 8.0)), log(512)]
    loss, held_out, _ = figures.training_curves(pd.concat(runs)).axes
    assert held_out.get_ylim() == (0, 7.5) and loss.get_title() == "training loss"
    assert held_out.get_title().endswith("2 of 3 leave at the top, up to 9.0")


def test_training_curves_need_no_validation():
    figure = figures.training_curves(log(nelbo=math.nan))
    assert figure.axes[1].get_ylim() == (0, pytest.approx(3.15))
    with pytest.raises(ValueError, match="no column n, seed"):
        figures.training_curves(log().drop(columns=["n", "seed"]))
