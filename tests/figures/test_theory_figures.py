"""The figures of the theory notebook: their panels, lines and keys."""

import pandas as pd
import pytest
import torch

from helpers.memories import seeded
from uddm_lib import probes
from uddm_lib.figures import theory_figures
from uddm_lib.oracles import Memorizer
from uddm_lib.schedule import duality_alpha
from uddm_lib.statistics.summary import summarize
from uddm_lib.theory import condensation, memory_experiments, worked_examples
from uddm_lib.theory.hopfield import projector
from uddm_lib.theory.patterns import feature_examples, random_patterns


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_basins_have_a_panel_per_load_and_a_line_per_rule():
    table = memory_experiments.basins([0.1, 0.3], [0.0, 0.2], size=30, steps=20)
    figure = theory_figures.basins(summarize(table, ["load", "rule", "share"], "overlap"))
    assert [axis.get_title() for axis in figure.axes] == ["P / N = 0.1", "P / N = 0.3"]
    assert [len(axis.containers) for axis in figure.axes] == [2, 2]
    assert labels(figure) == ["Hebbian", "pseudo-likelihood", "overlap at the start"]


def test_training_figures_show_every_stage():
    patterns = random_patterns(10, 30, seeded())
    summary, details = memory_experiments.training_history(patterns, [1, 10, 100])
    figure = theory_figures.margins(details, summary, 1.5)
    assert len(figure.axes[0].patches) == 3
    assert figure.axes[1].lines[0].get_ydata().tolist() == summary["smallest"].tolist()
    assert labels(figure)[-1].startswith("maximum margin (SVM)")
    figure = theory_figures.gradient_parts(details, summary)
    assert len(figure.axes[0].lines) == 3 and "Hebb rule" in figure.axes[1].get_ylabel()
    assert figure.axes[2].lines[0].get_ydata().tolist() == summary["patterns"].tolist()


def test_relaxation_marks_the_flips_that_raise_the_energy():
    columns = ["run", "flip", "energy", "overlap"]
    paths = pd.DataFrame([(0, 0, -1.0, 0.6), (0, 1, -0.5, 0.8), (0, 2, -2.0, 1.0)], columns=columns)
    figure = theory_figures.relaxation(paths.assign(couplings="one-way"))
    path, rises = figure.axes[0].lines
    assert path.get_ydata().tolist() == [-0.5, -0.25, -1.0]
    assert rises.get_xdata().tolist() == [1]
    assert labels(figure) == ["one-way", "a flip that raises it"]


def test_capacity_marks_both_thresholds():
    table = memory_experiments.capacity([0.1, 1.0], size=30, steps=20)
    figure = theory_figures.capacity(table.assign(possible=[None, 1.0, None, 0.5]))
    left, right = figure.axes
    assert left.lines[-1].get_xdata()[0] == 0.138
    threshold, separated, possible = right.lines[-3:]
    assert threshold.get_xdata()[0] == 2
    assert possible.get_ydata().tolist() == [0.5] and len(separated.get_ydata()) == 1
    assert len(labels(figure)) == 6


def test_generalization_has_a_row_per_rule_and_a_column_per_source():
    features = random_patterns(6, 40, seeded())
    table = memory_experiments.generalization(
        lambda count, draw: feature_examples(count, features, generator=draw),
        [2, 8],
        unseen=10,
        steps=20,
        reference=projector(features),
    )
    table = pd.concat([table.assign(source=name) for name in ("one", "two")])
    figure = theory_figures.generalization(
        summarize(table, ["source", "rule", "group", "P"], "recovered")
    )
    assert [axis.get_title() for axis in figure.axes] == [
        "one, pseudo-likelihood",
        "two, pseudo-likelihood",
        "one, Hebbian",
        "two, Hebbian",
    ]
    assert "knows the source" in labels(figure) and "hidden features" not in labels(figure)


def test_nelbo_integrands_have_a_line_per_prediction():
    joint = torch.full((2, 2), 0.25, dtype=torch.float64)
    times = torch.tensor([0.2, 0.5, 1.0]).double()
    table = worked_examples.nelbo_integrands(joint, times)
    assert labels(theory_figures.nelbo_integrands(table)) == [
        "leave-one-out conditional",
        "ordinary posterior",
        "uniform prediction",
    ]


def test_condensation_has_a_line_per_time_and_per_count():
    path = condensation.energy_path(5, 8, [0.1, 0.9])
    weights = condensation.original_weights([4, 16], 8, 5, [0.3, 0.8], draws=8)
    figure = theory_figures.condensation(path, weights, {4: 0.9, 16: 0.8})
    assert len(figure.axes[0].lines) == 2 and len(figure.axes[1].containers) == 2
    assert labels(figure) == ["t = 0.1", "t = 0.9", "n = 4", "n = 16", "condensation time"]
    assert [len(legend.get_texts()) for legend in figure.legends] == [2, 3], "a key for each panel"


def test_duality_has_a_key_per_vocabulary():
    gamma = torch.tensor([-2.0, 0.0], dtype=torch.float64)
    alphas = pd.DataFrame({"vocab_size": 3, "gamma": gamma, "alpha": duality_alpha(gamma, 3)})
    figure = theory_figures.duality(alphas, worked_examples.argmax_alpha([-2.0], 3, 100))
    assert labels(figure) == ["V = 3", "range of the curriculum"]


def test_curvature_compares_quadrature_and_laplace():
    figure = theory_figures.curvature(worked_examples.double_well([1.0, 10.0]))
    assert labels(figure) == ["by quadrature", "Laplace, eq. (23)"]


def test_exact_limits_have_a_line_per_denoiser_and_set():
    rows = [
        (kind, n, name, t, 0.5, 0.4, 0.6)
        for kind, n in (("memorizer", 4), ("memorizer", 8), ("generalizer", 8))
        for name in ("train", "test")
        for t in (0.1, 0.5)
        if kind == "memorizer" or name == "test"
    ]
    table = pd.DataFrame(rows, columns=["denoiser", "n", "set", "t", "mean", "low", "high"])
    figure = theory_figures.exact_limits(table, table)
    assert [len(axis.containers) for axis in figure.axes] == [5, 5]
    assert labels(figure)[:2] == ["memorizer, n = 4", "memorizer, n = 8"]
    assert labels(figure)[-1] == "generalizer"


def test_reverse_profile_has_a_line_per_denoiser():
    memory = Memorizer(torch.tensor([[0, 1, 2]]), 4)
    noise = torch.zeros(2, 3, dtype=torch.long)
    table = probes.reverse_profile(memory, noise, steps=4, generator=seeded())
    figure = theory_figures.reverse_profile(table.assign(denoiser="memory"))
    assert len(figure.axes) == 3 and labels(figure) == ["memory"]


@pytest.mark.parametrize(
    "draw",
    [
        theory_figures.basins,
        theory_figures.relaxation,
        theory_figures.capacity,
        theory_figures.generalization,
        theory_figures.curvature,
        theory_figures.reverse_profile,
    ],
)
def test_a_missing_column_is_named(draw):
    with pytest.raises(ValueError, match="the table has no column .*; it has x"):
        draw(pd.DataFrame({"x": [1]}))
