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


def test_figure5_shows_every_size(tables):
    figure = figures.figure5(tables["figure5_entropy"], "markov")
    assert len(figure.axes) == len(SIZES) and "nats per token" in figure.axes[0].get_ylabel()


def test_perplexity_has_error_bars_where_the_table_has_intervals(tables):
    three = collect.figure_tables(run_tables(sequences=2, seeds=(1, 2, 3)))["perplexity"]
    for table, bars in ((three, 1), (three.drop(columns=["low", "high"]), 0)):
        figure = figures.perplexity(table, "markov")
        assert labels(figure) == list(SIZES)
        axis = figure.axes[0]
        assert [len(axis.containers), len(axis.collections)] == [bars * len(SIZES)] * 2
        pico = table[table["size"] == "pico"]
        assert axis.lines[0].get_xydata().tolist() == pico[["n", "perplexity"]].to_numpy().tolist()
    ends = figures.perplexity(three, "markov").axes[0].collections[0].get_segments()
    assert ends[0][:, 1].tolist() == pytest.approx(three.loc[0, ["low", "high"]].tolist())


def test_shipped_tables_are_drawn():
    shipped = collect.read_figure_tables("paper_figures/laptop")
    for corpus in shipped["perplexity"]["corpus"].unique():
        assert figures.perplexity(shipped["perplexity"], corpus).axes[0].lines
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
    assert [axis.get_title(loc="left") for axis in many.axes] == [
        f"n = {n}, {name}"
        for n in ("8", "4,096")
        for name in ("training sequences", "unseen test sequences")
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
    assert len(figures.perplexity(many, "markov").axes[0].containers) == 6


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
