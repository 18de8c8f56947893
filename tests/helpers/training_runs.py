"""Small training runs that tests start in processes of their own: ``python tests/helpers/training_runs.py FOLDER [NAME ...]``.

With the variables of torchrun set, it is one of several processes.
"""

import os
import signal
import sys
from pathlib import Path

import pandas as pd
import torch

from uddm_lib.model import UDDMConfig
from uddm_lib.training import loop as training

BLOCKS = torch.randint(6, (20, 4), generator=torch.Generator().manual_seed(0))
OPTIONS = dict(
    steps=12,
    batch_size=7,
    learning_rate=3e-3,
    warmup_steps=2,
    ema_decay=0.9,
    log_every=3,
    checkpoint_every=6,
)
GAUSSIAN = dict(curriculum="gaussian", curriculum_steps=8)
RUNS = {
    "plain": {},
    "gaussian": GAUSSIAN,
    "parts": dict(t_sampling="importance", micro_batch=2),
    "stopped": GAUSSIAN,
    "dropout": {},
    "killed": dict(steps=150, log_every=2, checkpoint_every=4),
}
EXACT = [
    "step",
    "loss",
    "learning_rate",
    "validation_nelbo",
]  # columns of the log that are not measured times


def run(folder, name, **changes):
    """Train the run ``name`` in ``folder``."""
    dropout = 0.1 if name in ("dropout", "killed") else 0.0
    config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=dropout, adaln_zero=False)
    options = training.TrainingOptions(**OPTIONS | RUNS[name] | changes)
    return training.train(Path(folder) / name, BLOCKS, BLOCKS, config, options)


def weights(model):
    return torch.cat([part.detach().flatten() for part in model.parameters()])


def _stop_once(rank):
    """Let process ``rank`` send itself a signal in step 4."""
    update = training._Loop._update

    def stops(self, step):
        if step == 4 and self.accelerator.process_index == rank:
            os.kill(os.getpid(), signal.SIGUSR1)
        return update(self, step)

    training._Loop._update = stops
    return update


def _main(folder, *names):
    training.matmul_rate = lambda device, dtype: (
        1e9
    )  # not measured: that takes longer than these runs
    if os.environ.get("RANK", "0") != "0":

        def no_writes(event, arguments):  # the first process alone may write
            if (
                event == "open"
                and isinstance(arguments[0], str)
                and arguments[0].startswith(folder)
            ):
                assert "w" not in (arguments[1] or "") and not arguments[2] & os.O_WRONLY, arguments
            assert event not in ("os.rename", "os.mkdir", "os.remove") or folder not in str(
                arguments[0]
            ), arguments

        sys.addaudithook(no_writes)
    for name in names:
        if name == "stopped":
            update = _stop_once(rank=1)
            try:
                run(folder, name)
            except training.Stopped as error:
                assert "after step 5; the same call continues" in str(error), error
            else:
                raise AssertionError("the run was not stopped")
            training._Loop._update = update
        result = run(folder, name)
        assert isinstance(result.log, pd.DataFrame)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    _main(*sys.argv[1:])
