"""A verdict on every claim of the paper, from the tables of a sweep's runs.

The rule is the same for all claims. A claim sets a range for what is measured (``bounds`` says
where each bound comes from), and a sweep gives that value with its 95 % interval over trainings
and sequences.

- ``holds``: the whole interval lies inside the range.
- ``does not hold``: the whole interval lies outside of it.
- ``undecided``: the interval contains an end of the range.
- ``not tested``: the sweep does not hold what the claim is about, or fewer than 20 tokens or copies
  of it; the reason is given.

A claim about several values (times, sets, sizes) holds if it holds for all that are tested, and
does not hold if it fails for one. Claims at one t take t = 0.1 and, for the greedy process, a share
of 0.1 corrupted tokens; claims at every t take all t <= 0.5. The smallest and the largest n are
those of the sweep. With one training a point the interval is over sequences alone, and so the
verdict is about that training.
"""

from uddm_lib.statistics.claims.evaluation import CLAIMS, evaluate, require
from uddm_lib.statistics.claims.report import VERDICTS, counts, folded, markdown

__all__ = ["CLAIMS", "VERDICTS", "counts", "evaluate", "folded", "markdown", "require"]
