"""From the parameters of runs to their data and models, to the trained runs, and to their tables.

Notebooks 02 to 04, ``uddm train`` and the benchmarks all come here. The names of the parameters are
those of the notebooks and of :class:`~uddm_lib.training.TrainingOptions`. ``prepared`` trains,
``trained`` reads runs back, ``run_tables`` probes them, ``restorations`` follows single sequences.
"""

from uddm_lib.experiments.prepared import (
    Experiment,
    prepare,
    prepare_runs,
    train_run,
    train_runs,
)
from uddm_lib.experiments.restorations import (
    Restored,
    changes_table,
    film_table,
    most_typical,
    restore_states,
)
from uddm_lib.experiments.run_tables import entropy_tables, recovery_tables, training_tables
from uddm_lib.experiments.trained import TrainedRun, load_run, load_runs

__all__ = [
    "Experiment",
    "Restored",
    "TrainedRun",
    "changes_table",
    "entropy_tables",
    "film_table",
    "load_run",
    "load_runs",
    "most_typical",
    "prepare",
    "prepare_runs",
    "recovery_tables",
    "restore_states",
    "train_run",
    "train_runs",
    "training_tables",
]
