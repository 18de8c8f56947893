"""Train one run of a profile in several processes; its notebook then finds it trained, and goes on from there.

    accelerate launch --num_processes 8 runs/train.py paper lm1b-medium-nall      (or torchrun --nproc-per-node 8 ...)

Runs are named as their folders, runs/PROFILE/RUN. The processes, on one machine or on several with one file system,
split every batch. Killed, it continues with the same call. On SIGTERM, which launchers pass on, it makes a checkpoint
and exits with status 75 (EX_TEMPFAIL), for which a launcher has a status of its own.
"""

import argparse
import sys

import profiles

from uddm_lib.data import load_corpus, subset
from uddm_lib.model import UDDMConfig
from uddm_lib.training import Stopped, TrainingOptions, train


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("profile", help="name of a YAML file in runs/")
    parser.add_argument("run", help="one of its runs, such as markov-pico-n000064")
    arguments = parser.parse_args()
    try:
        run_of(arguments.profile, arguments.run)
    except profiles.ProfileError as error:
        return f"train.py: {error}"
    except Stopped as stopped:
        print(stopped)
        return 75
    return 0


def run_of(profile, run):
    """Train ``run`` of ``profile`` as its notebook would.

    Raises:
        ProfileError: if the profile cannot be run, or has no such run.
    """
    plan = profiles.jobs(profile)
    known = {
        job.parameters["run"].rpartition("/")[2]: job
        for job in plan.values()
        if job.stage == "training"
    }
    if run not in known:
        raise profiles.ProfileError(
            f"run {run!r} is not in runs/{profile}.yaml, which has {', '.join(known)}"
        )
    given = profiles.effective(known[run])
    data = load_corpus(
        given["corpus"],
        given["length"] or None,
        given["vocab_size"] or None,
        seed=given["corpus_seed"],
        tokenizer=given["tokenizer"] or None,
    )
    blocks = subset(data, given["n"] or len(data.train), seed=given["corpus_seed"])
    config = UDDMConfig.named(
        given["size"],
        data.vocab_size,
        data.length,
        dropout=given["dropout"],
        adaln_zero=given["adaln_zero"],
    )
    names = [name for name in TrainingOptions.__dataclass_fields__ if name in given]
    options = TrainingOptions(
        **{name: given[name] for name in names}, log_every=max(1, min(50, given["steps"] // 20))
    )
    asked = {
        "corpus": given["corpus"],
        "length": data.length,
        "vocab_size": data.vocab_size,
        "tokenizer": given["tokenizer"],
        "corpus_seed": given["corpus_seed"],
        "size": given["size"],
        "n": len(blocks),
    }
    return train(
        profiles.ROOT / given["run"],
        blocks,
        data.test[:512],
        config,
        options,
        data.tokenizer,
        data.scored,
        asked,
        show_progress=sys.stderr.isatty(),
    )


if __name__ == "__main__":
    sys.exit(main())
