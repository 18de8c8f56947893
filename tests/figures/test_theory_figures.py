import pandas as pd
import pytest
import torch

from uddm_lib import probes
from uddm_lib.figures import theory_figures
from uddm_lib.oracles import Memorizer
from uddm_lib.schedule import duality_alpha
from uddm_lib.statistics.summary import summarize
from uddm_lib.theory import exact, hopfield, memory_experiments


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_basins_have_a_panel_per_load_and_a_line_per_rule():
    table = memory_experiments.basins([0.1, 0.3], [0.0, 0.2], size=30, steps=20)
    figure = theory_figures.basins(summarize(table, ["load", "rule", "share"], "overlap"))
    assert [axis.get_title() for axis in figure.axes] == ["P / N = 0.1", "P / N = 0.3"]
    assert [len(axis.containers) for axis in figure.axes] == [2, 2]
    assert labels(figure) == ["Hebbian", "pseudo-likelihood", "overlap at the start"]


def test_training_figures_show_every_stage():
    patterns = hopfield.random_patterns(10, 30, seeded())
    course, details = memory_experiments.course(patterns, [1, 10, 100])
    figure = theory_figures.margins(details, course, 1.5)
    assert len(figure.axes[0].patches) == 3
    assert figure.axes[1].lines[0].get_ydata().tolist() == course["smallest"].tolist()
    assert labels(figure)[-1].startswith("maximum margin (SVM)")
    figure = theory_figures.gradient_parts(details, course)
    assert len(figure.axes[0].lines) == 3 and "Hebb rule" in figure.axes[1].get_ylabel()


def test_capacity_marks_both_thresholds():
    table = memory_experiments.capacity([0.1, 1.0], size=30, steps=20)
    figure = theory_figures.capacity(table)
    assert [line.get_xdata()[0] for line in figure.axes[0].lines[4:]] == [0.138, 2]
    assert len(labels(figure)) == 4


def test_generalization_has_a_row_per_rule_and_a_column_per_source():
    features = hopfield.random_patterns(6, 40, seeded())
    table = memory_experiments.generalization(
        lambda count, draw: hopfield.feature_examples(count, features, generator=draw),
        [2, 8],
        unseen=10,
        steps=20,
        reference=hopfield.projector(features),
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


def test_nelbo_integrands_and_condensation_and_duality_and_curvature():
    joint = torch.full((2, 2), 0.25, dtype=torch.float64)
    figure = theory_figures.nelbo_integrands(
        exact.nelbo_integrands(joint, torch.tensor([0.2, 0.5, 1.0]).double())
    )
    assert labels(figure) == [
        "leave-one-out conditional",
        "ordinary posterior",
        "uniform prediction",
    ]

    weights = exact.condensation([4, 16], 8, 5, [0.3, 0.8], draws=8)
    figure = theory_figures.condensation(
        exact.energy_path(5, 8, [0.1, 0.9]), weights, {4: 0.9, 16: 0.8}
    )
    assert len(figure.axes[0].lines) == 2 and len(figure.axes[1].containers) == 2
    assert labels(figure)[-1] == "condensation time"

    alphas = pd.DataFrame(
        {"vocab_size": 3, "gamma": [-2.0, 0.0], "alpha": duality_alpha([-2.0, 0.0], 3)}
    )
    figure = theory_figures.duality(alphas, exact.argmax_alpha([-2.0], 3, 100))
    assert labels(figure) == ["V = 3", "range of the curriculum"]

    figure = theory_figures.curvature(exact.double_well([1.0, 10.0]))
    assert labels(figure) == ["by quadrature", "Laplace, eq. (23)"]


def test_limits_and_profiles_have_a_line_per_denoiser():
    rows = [
        (kind, n, name, t, 0.5, 0.4, 0.6)
        for kind, n in (("memorizer", 4), ("memorizer", 8), ("generalizer", 8))
        for name in ("train", "test")
        for t in (0.1, 0.5)
        if kind == "memorizer" or name == "test"
    ]
    table = pd.DataFrame(rows, columns=["denoiser", "n", "set", "t", "mean", "low", "high"])
    figure = theory_figures.limits(table, table)
    assert [len(axis.containers) for axis in figure.axes] == [5, 5]
    assert (
        labels(figure)[:2] == ["memorizer, n = 4", "memorizer, n = 8"]
        and labels(figure)[-1] == "generalizer"
    )

    memory = Memorizer(torch.tensor([[0, 1, 2]]), 4)
    table = probes.reverse_profile(
        memory, torch.zeros(2, 3, dtype=torch.long), steps=4, generator=seeded()
    )
    figure = theory_figures.profile(table.assign(denoiser="memory"))
    assert len(figure.axes) == 3 and labels(figure) == ["memory"]


@pytest.mark.parametrize(
    "draw",
    [
        theory_figures.basins,
        theory_figures.capacity,
        theory_figures.generalization,
        theory_figures.curvature,
        theory_figures.profile,
    ],
)
def test_a_missing_column_is_named(draw):
    with pytest.raises(ValueError, match="the table has no column .*; it has x"):
        draw(pd.DataFrame({"x": [1]}))
