"""Train the models that calibrate ``uddm audit``, and measure them.

    python benchmarks/calibration.py               all that is missing, then the package's table
    python benchmarks/calibration.py --only kjv    models of one source alone, no table

Eight sources, trained by the NELBO, by cross-entropy, and without time input. A model is labelled
by the gap between the token recovery of its training and of unseen sequences at t = 0.1.
"""

import argparse
import json
import os
import time
from pathlib import Path

import pandas as pd
import torch
from calibration_texts import formulaic, rules_and_facts
from measure import machine

from uddm_lib import diffusion, experiments, probes
from uddm_lib.audit import calibration
from uddm_lib.audit.generated import (
    SETTINGS,
    SURE,
    T_REGIME,
    first,
    generated_by,
    measures_of,
    read,
)
from uddm_lib.audit.regime import special_tokens
from uddm_lib.data.bible import verses
from uddm_lib.results import provenance, resolve, write_table
from uddm_lib.sampling import T_END
from uddm_lib.schedule import LogLinearSchedule

FOLDER = resolve("runs/calibration")
TRAINING = {
    "steps": 1200, "batch_size": 64, "optimizer": "muon", "warmup_steps": 50,
    "lr_schedule": "linear", "ema_decay": 0.98, "t_min": 0.05, "t_sampling": "importance",
    "dropout": 0.0, "adaln_zero": False, "precision": "bf16", "compile": True,
}  # fmt: skip
CHAIN = {"corpus": "markov", "learning_rate": 1e-2}
TEXT = {"corpus": "text", "learning_rate": 1.5e-2, "length": 32, "vocab_size": 80, "size": "nano"}
SOURCES = {
    "chain32": {**CHAIN, "corpus_seed": 1, "vocab_size": 32, "length": 16, "size": "nano"},
    "chain8": {**CHAIN, "corpus_seed": 2, "vocab_size": 8, "length": 24, "size": "pico"},
    "chain64": {**CHAIN, "corpus_seed": 3, "vocab_size": 64, "length": 24, "size": "nano"},
    "kjv": {**TEXT, "corpus": "kjv", "length": 64},
    "ylt": TEXT,  # another translation
    "code": {**TEXT, "vocab_size": 128},  # the modules of torch.nn
    "formulaic": {**TEXT, "vocab_size": 40},
    "facts": {**TEXT, "vocab_size": 19},  # no merges: every block holds two lines
}
KINDS = {  # seed, counts and options of a kind; "all" is at most some 50,000 blocks
    "nelbo": (1, [16, 64, 256, 1024, "all"], {}),
    "cross_entropy": (2, [16, 256, "all"], {"objective": "cross_entropy"}),
    "untimed": (3, [64, "all"], {"time_conditioning": False}),
}
SEQUENCES, STEPS = 256, 20  # for the recovery


def documents(source):
    """The lines of a source that is not a corpus of the package."""
    if source == "ylt":
        return verses(["ylt"])[1]
    if source == "code":
        files = sorted((Path(torch.__file__).parent / "nn" / "modules").glob("*.py"))
        lines = [line.strip() for file in files for line in file.read_text("utf-8").splitlines()]
        return [line for line in dict.fromkeys(lines) if line]
    return {"formulaic": formulaic, "facts": rules_and_facts}[source](30_000, seed=1)


def corpus_name(source):
    """The corpus, whose file is written first where there is one."""
    if SOURCES[source]["corpus"] != "text":
        return SOURCES[source]["corpus"]
    file = FOLDER / f"{source}.txt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(documents(source)) + "\n", encoding="utf-8")
    return f"text:{file}#line"


def measured(run, source, kind, settings=SETTINGS):
    """A row for each number of generated sequences and its reverse steps."""
    started, model, special = time.monotonic(), run.model, special_tokens(run.tokenizer)
    sets = run.sets(SEQUENCES)
    recovered = {
        name: probes.token_recovery(
            model, sets[name], [T_REGIME], STEPS, scored=run.scored, batch_size=256
        )["recovered"].mean()
        for name in ("train", "test")
    }
    most = max(settings)
    unseen = read(model, run.test[:most].long(), special)
    drawn = {
        steps: generated_by(model, count, model.length, steps, special)
        for steps, count in {s: c for c, s in sorted(settings.items())}.items()  # most last
    }
    rows = []
    for count, steps in settings.items():
        part = first(drawn[steps], count)
        values, strange = vars(measures_of(part)), measures_of(first(unseen, count))
        birthday = values.pop("birthday")
        rows.append(
            {
                "source": source, "kind": kind, "size": run.parameters["size"],
                "n": len(run.train), "seed": run.parameters["seed"],
                "count": count, "steps": steps, **values,
                "unseen_nelbo": strange.nelbo, "unseen_overconfidence": strange.overconfidence,
                "distinct": birthday.distinct, "repeated": birthday.repeated,
                "estimate": birthday.estimate,
                "low_n": birthday.low, "high_n": birthday.high,
                "raw_low": raw_share(model, part),
                "recovery_train": recovered["train"], "recovery_test": recovered["test"],
                "seconds": time.monotonic() - started,
            }
        )  # fmt: skip
    return rows


def raw_share(model, generated):
    """Share of tokens below 0.1 nats at t = 1e-5 where the output is taken as it is."""
    with torch.inference_mode():
        logits = model.denoise(generated.tokens, LogLinearSchedule().sigma(T_END))
    low = diffusion.entropy(logits)[generated.scored] < SURE
    return low.double().mean().item()


def train_and_measure(source):
    corpus = corpus_name(source)
    for kind, (seed, counts, options) in KINDS.items():
        folder = FOLDER / source / kind
        parameters = {**TRAINING, **SOURCES[source], **options, "corpus": corpus, "seed": seed}
        for experiment in experiments.prepare_runs({**parameters, "n": counts}):
            file = folder / f"{len(experiment.blocks)}.json"
            if file.exists():
                continue
            started = time.monotonic()
            (run,) = experiments.train_runs([experiment], folder)
            trained = time.monotonic() - started
            rows = measured(run, source, kind)
            file.write_text(json.dumps(rows), encoding="utf-8")
            row = rows[0]
            print(
                f"{source:9} {kind:13} n {row['n']:6}  {trained:4.0f} s + {row['seconds']:3.0f} s"
                f"  gap {row['recovery_train'] - row['recovery_test']:5.2f}"
                f"  low {row['low']:.2f}  ratio {row['ratio']:.2f}  twins {row['twins']:.2f}"
                f"  overconfidence {row['overconfidence']:.2f}"
                f", of unseen {row['unseen_overconfidence']:.2f}",
                flush=True,
            )


def write():
    """The package's table, from all that is measured."""
    rows = [row for file in FOLDER.glob("*/*/*.json") for row in json.loads(file.read_text())]
    table = pd.DataFrame(rows).drop(columns="seconds")
    order = ["source", "kind", "n", "count"]
    table = table.sort_values(order, ignore_index=True).round(5)
    write_table(table, calibration.FILE, provenance({"machine": machine()}))
    print(f"{calibration.FILE.name}: {len(table) // len(SETTINGS)} models")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", nargs="+", metavar="SOURCE", choices=SOURCES)
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    for source in options.only or SOURCES:
        train_and_measure(source)
    if not options.only:
        write()


if __name__ == "__main__":
    main()
