"""Small training runs, and hooks into their steps.

Tests start them in processes of their own, too: ``python tests/helpers/training_runs.py FOLDER
[NAME ...]``. With the variables of torchrun set, that is one of several processes.
"""

import os
import signal
import sys
from pathlib import Path

import pandas as pd
import torch

from uddm_lib import devices
from uddm_lib.model import UDDMConfig
from uddm_lib.training import Stopped, TrainingLoop, TrainingOptions, train

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
# Columns of the log that are not measured times.
EXACT = ["step", "loss", "learning_rate", "validation_nelbo"]


def run(folder, name, **changes):
    """Train the run ``name`` in ``folder``."""
    dropout = 0.1 if name in ("dropout", "killed") else 0.0
    config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=dropout, adaln_zero=False)
    options = TrainingOptions(**OPTIONS | RUNS[name] | changes)
    return train(Path(folder) / name, BLOCKS, BLOCKS, config, options)


def weights(model):
    return torch.cat([part.detach().flatten() for part in model.parameters()])


def unmeasured(device, dtype):
    """A rate of matrix products that takes no time to measure."""
    return 1e9


def around_update(patch, wrapper):
    """Let ``wrapper(loop, step, update)`` take each optimizer step; ``update()`` is the real one.

    Args:
        patch: a ``pytest.MonkeyPatch``, which takes it back.
        wrapper: returns the step's loss.
    """
    update = TrainingLoop.update
    patch.setattr(
        TrainingLoop,
        "update",
        lambda loop, step: wrapper(loop, step, lambda: update(loop, step)),
    )


def before_step(patch, action):
    """Call ``action(step)`` before each optimizer step."""

    def wrapper(loop, step, update):
        action(step)
        return update()

    around_update(patch, wrapper)


def stop_process(rank):
    """A wrapper for :func:`around_update`: process ``rank`` sends itself a signal in step 4."""

    def wrapper(loop, step, update):
        if step == 4 and loop.accelerator.process_index == rank:
            os.kill(os.getpid(), signal.SIGUSR1)
        return update()

    return wrapper


def refuse_writes(folder):
    """Let everything fail that would change ``folder``."""

    def hook(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(folder):
            assert "w" not in (arguments[1] or "") and not arguments[2] & os.O_WRONLY, arguments
        changes = event in ("os.rename", "os.mkdir", "os.remove")
        assert not changes or folder not in str(arguments[0]), arguments

    sys.addaudithook(hook)


def main(folder, *names):
    import pytest

    devices.matmul_rate = unmeasured
    if os.environ.get("RANK", "0") != "0":
        refuse_writes(folder)  # the first process alone may write
    for name in names:
        if name == "stopped":
            with pytest.MonkeyPatch.context() as patch:
                around_update(patch, stop_process(rank=1))
                with pytest.raises(Stopped, match="after step 5; the same call continues"):
                    run(folder, name)
        result = run(folder, name)
        assert isinstance(result.log, pd.DataFrame)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
