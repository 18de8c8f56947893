"""The figures of the theory notebook, one function each, drawn from tables alone.

The tables come from the modules of :mod:`uddm_lib.theory` and from :mod:`uddm_lib.probes`. Where a
function asks for a summary, it is that of :func:`uddm_lib.statistics.summary.summarize`.
"""

from uddm_lib.figures.theory_figures.diffusion_examples import (
    condensation,
    curvature,
    duality,
    exact_limits,
    nelbo_integrands,
    reverse_profile,
)
from uddm_lib.figures.theory_figures.memories import (
    basins,
    capacity,
    generalization,
    gradient_parts,
    margins,
    relaxation,
)

__all__ = [
    "basins",
    "capacity",
    "condensation",
    "curvature",
    "duality",
    "exact_limits",
    "generalization",
    "gradient_parts",
    "margins",
    "nelbo_integrands",
    "relaxation",
    "reverse_profile",
]
