import itertools
import math
import os
import subprocess
import sys

import matplotlib
import pandas as pd
import pytest

from helpers.tables import NS, SIZES, run_tables
from uddm_lib import figures
from uddm_lib.statistics import collect


@pytest.fixture(scope="module")
def tables():
    return collect.figure_tables(run_tables())


def limits(axis):
    """How many thin curves of exact limits an axis has, by line style."""
    styles = [line._linestyle for line in axis.lines if line.get_linewidth() == 0.8]
    return {style: styles.count(style) for style in set(styles)}


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_figure1_has_a_panel_per_size_and_set_and_a_curve_per_n(tables):
    figure = figures.figure1(tables["figure1_basins"], "markov")
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
    ]
    first = figure.axes[0].containers[0].lines[0].get_xydata()
    drawn = tables["figure1_basins"].query(
        "size == 'pico' and n == 8 and set == 'train' and denoiser == 'network'"
    )
    assert first.tolist() == drawn[["share", "mean"]].to_numpy().tolist()


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


def test_figure2_has_a_panel_per_size_and_train_and_test_per_t(tables):
    figure = figures.figure2(tables["figure2_recovery"], "markov")
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
    figure = figures.figure2(networks, "markov")
    assert not limits(figure.axes[0]) and not any("exact" in label for label in labels(figure))
    figure = figures.figure5(tables["figure5_entropy"], "markov")
    assert sum(limits(figure.axes[0]).values()) == 3 * 2


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
    assert [axis.get_title() for axis in shown] == ["n = 8", "n = 64", "n = 512", "n = 4,096"]
    assert "nats per sequence" in shown[-1].get_xlabel()


def test_figure5_and_perplexity(tables):
    figure = figures.figure5(tables["figure5_entropy"], "markov")
    assert len(figure.axes) == len(SIZES) and "nats per token" in figure.axes[0].get_ylabel()
    assert labels(figures.perplexity(tables["perplexity"], "markov")) == list(SIZES)


def test_recovery_against_time_has_a_panel_per_model(tables):
    one = tables["figure2_recovery"].query("size == 'pico' and n in (8, 4096)")
    figure = figures.recovery_against_time(one, "markov")
    assert [axis.get_title() for axis in figure.axes] == ["pico, n = 8", "pico, n = 4,096"]


def test_saved_figures_repeat_to_the_byte_and_leave_matplotlib_alone(tables, tmp_path):
    before = dict(matplotlib.rcParams)
    for folder in ("a", "b"):
        figures.save(
            figures.figure5(tables["figure5_entropy"], "markov"), tmp_path / folder, "figure5"
        )
    for suffix in ("png", "pdf"):
        first, second = ((tmp_path / folder / f"figure5.{suffix}").read_bytes() for folder in "ab")
        assert first == second and len(first) > 5_000
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "figure5.pdf",
        "figure5.png",
    ]
    assert dict(matplotlib.rcParams) == before


def test_what_is_missing_is_named(tables):
    with pytest.raises(ValueError, match="corpus='kjv' is not in the table; it holds markov"):
        figures.figure2(tables["figure2_recovery"], "kjv")
    with pytest.raises(ValueError, match="no column low"):
        figures.figure5(tables["figure5_entropy"].drop(columns="low"), "markov")


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
    assert "first 72 of 126 tokens" in axis.get_title(loc="left")
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
    one = {
        name: table[(table["n"] == 64) & (table["size"] == "pico")]
        for name, table in run_tables(sequences=4).items()
    }
    drawn = collect.figure_tables(
        {name: pd.concat([table.assign(n=n) for n in many]) for name, table in one.items()}
    )
    figure = figures.figure1(drawn["figure1_basins"], "markov")
    assert (
        len(labels(figure)) == min(len(many), 9) + 3 and labels(figure)[-4] == f"n = {many[-1]:,}"
    )
    ticks = figures.figure2(drawn["figure2_recovery"], "markov").axes[0].get_xticks()
    assert ticks.max() == many[-1] and len(ticks) <= 17


def test_every_size_has_its_line(tables):
    pico = tables["perplexity"].query("size == 'pico'")
    many = pd.concat([pico.assign(size=size) for size in "abcdef"])
    assert len(figures.perplexity(many, "markov").axes[0].lines) == 6


def test_saved_figures_do_not_hang_on_the_hashes_of_a_process(tmp_path):
    code = (
        "import sys; import pandas as pd; from uddm_lib import figures; "
        "log = pd.DataFrame({'step': [1, 2], 'loss': [2.0, 1.0], 'validation_nelbo': [2.0, 1.5]}); "
        "figures.save(figures.training_curve(log), *sys.argv[1:])"
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


def test_training_curve_reads_in_nats_and_in_perplexity():
    log = pd.DataFrame(
        {"step": [10, 20, 30], "loss": [3.0, 2.0, 1.5], "validation_nelbo": [math.nan, 2.5, 2.2]}
    )
    figure = figures.training_curve(log)
    axis = figure.axes[0]
    assert axis.lines[1].get_xydata().tolist() == [[20, 2.5], [30, 2.2]]
    right = figure.axes[1]
    places, labels = right.get_yticks(), [text.get_text() for text in right.get_yticklabels()]
    assert "perplexity" in right.get_ylabel() and right.get_ylim() == axis.get_ylim()
    assert (
        [round(math.exp(place)) for place in places]
        == [int(label) for label in labels]
        == [1, 2, 5, 10, 20]
    )
