"""The figures, each drawn from tables alone, in one style (the network from its configuration).

Here are the paper's figures and those of a training; :mod:`uddm_lib.figures.theory_figures` has
those of notebook 1. The tables are those of :mod:`uddm_lib.statistics.collect`.

Every function returns a :class:`matplotlib.figure.Figure` made without pyplot: nothing global
changes, and a notebook shows it with ``display``. Ordered values (n, t) have the colors of
viridis, which also reads in gray, and a marker each. Model sizes that share a panel have colors of
their own. A band is over the trainings of a point, and a point trained once has none. Line styles
tell the sets apart: training solid, test or generated dashed, the control dotted. Where the source
is known, thin lines without markers show the two exact limits that a trained network lies between:
the memorizer of its training set, and the generalizer, which knows the source (dash-dotted).
"""

from uddm_lib.figures._plotting import STYLE, save
from uddm_lib.figures.audit_figures import regime_measures, score_distributions
from uddm_lib.figures.captions import caption
from uddm_lib.figures.entropy_against_overlap import entropy_against_overlap
from uddm_lib.figures.figure1_basins import figure1, figure6_basins
from uddm_lib.figures.figure2_recovery import figure2, figure2_full, recovery_against_time
from uddm_lib.figures.figure3_examples import figure3, text_examples
from uddm_lib.figures.figure4_sequence_entropy import figure4, figure15_sequence_entropy
from uddm_lib.figures.figure5_entropy import figure5
from uddm_lib.figures.figure9_stability import figure9_stability
from uddm_lib.figures.film_strip import film_strip
from uddm_lib.figures.network_diagram import network
from uddm_lib.figures.phase_diagram import phase_diagram
from uddm_lib.figures.restoration import gif_element, restoration, save_gif
from uddm_lib.figures.token_entropy import figure12_token_entropy, token_histograms
from uddm_lib.figures.training_curves import perplexity, training_curves

__all__ = [
    "STYLE",
    "caption",
    "entropy_against_overlap",
    "figure1",
    "figure2",
    "figure2_full",
    "figure3",
    "figure4",
    "figure5",
    "figure6_basins",
    "figure9_stability",
    "figure12_token_entropy",
    "figure15_sequence_entropy",
    "film_strip",
    "gif_element",
    "network",
    "perplexity",
    "phase_diagram",
    "recovery_against_time",
    "regime_measures",
    "restoration",
    "save",
    "save_gif",
    "score_distributions",
    "text_examples",
    "token_histograms",
    "training_curves",
]
