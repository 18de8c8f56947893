"""The command ``audit``: which regime a model is in, or which texts it has memorized."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uddm_lib.results import atomic_write

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from uddm_lib.audit.texts import TextAudit
    from uddm_lib.checkpoints import DiffusionGemma
    from uddm_lib.model import UDDM

_DESCRIPTION = """\
Say of a uniform-state diffusion model either which regime it is in (it memorizes its training
sequences, it generalizes, or it is in transition), from what it generates; or, with --texts, which
of these texts it has memorized. They are judged against texts that it has not seen: give both, of
one kind, one document a line (or JSON Lines, Parquet, and what else the corpus text: takes).
"""
_EXAMPLE = """\
examples:
  python -m uddm_lib audit models/mine
  python -m uddm_lib audit models/mine --texts suspected.txt --unseen held-out.txt

exit status of a regime: 0 generalizing, 3 cannot say, 4 memorizing, 6 in transition;
of texts: 0 nothing found, 3 cannot say, 4 memorized, 5 known as a set; 2 is an error
"""
STATUS = {  # not 1, which Python gives for an error that nobody caught
    "generalizing": 0,
    "nothing found": 0,
    "cannot say": 3,
    "memorizing": 4,
    "memorized": 4,
    "known as a set": 5,
    "in transition": 6,
}
SHOWN = 10  # texts in the summary


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "audit",
        help="say which regime a model is in, or which texts it has memorized",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a folder or .ckpt file; see docs/other-models.md"
    )
    parser.add_argument("--texts", metavar="FILE", help="the texts in question")
    parser.add_argument("--unseen", metavar="FILE", help="texts that were not trained on")
    parser.add_argument(
        "--members", metavar="FILE", help="texts known to be trained on: compares the scores"
    )
    parser.add_argument(
        "--training",
        metavar="FILE",
        help="the training texts: finds the passage nearest to each generated or suspected text",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="NAME_OR_FOLDER",
        help="a Hugging Face name, or a folder; default: the checkpoint's folder",
    )
    parser.add_argument(
        "--level",
        type=float,
        default=0.1,
        help="share of the texts found that may be false, on average over audits; default 0.1",
    )
    parser.add_argument(
        "--minutes", type=float, help="time for the regime: fewer sequences, less confidence"
    )
    parser.add_argument("--length", type=int, help="tokens a sequence; default: the model's")
    parser.add_argument(
        "--device", default="auto", help="auto (a GPU if there is one; the default), cpu or cuda"
    )
    parser.add_argument(
        "--precision",
        choices=["bf16", "fp32"],
        default="bf16",
        help="of the generation: bf16 (where the device is fast at it; default) or fp32",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers here")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page for a browser here")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random; default 1")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Audit, print a summary, and return the exit status that tells the verdict.

    Raises:
        OSError, ValueError: if a file cannot be read or written; the message names it.
    """
    from uddm_lib import checkpoints, data, devices  # late: --help should not wait for torch

    _check(options)
    device = devices.chosen(options.device)
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"audit needs the package {error.name}: pip install 'uddm-companion[audit]'"
        ) from None
    given = {
        name: data.read_texts(file) if (file := getattr(options, name)) else []
        for name in ("texts", "unseen", "members")
    }
    if options.training and next(data.iterate_texts(options.training), None) is None:
        raise ValueError(f"--training {options.training} holds no text")
    model = checkpoints.load(options.checkpoint, device)
    tokenizer: PreTrainedTokenizerBase | None = None
    if options.tokenizer:
        tokenizer = data.load_tokenizer(options.tokenizer)
    elif (
        options.unseen or options.training or (Path(options.checkpoint) / "tokenizer.json").exists()
    ):
        tokenizer = checkpoints.load_tokenizer(options.checkpoint)
    else:
        print("no tokenizer: every token counts, also special ones")
    audit = _of_texts if options.texts else _regime
    content, page, verdict = audit(options, model, tokenizer, given)
    if options.json:
        known = {
            "checkpoint": str(options.checkpoint),
            "facts": vars(model.facts),
            "seed": options.seed,
            "verdict": verdict,
        }
        text = json.dumps(known | content, indent=1) + "\n"
        atomic_write(options.json.absolute(), text)
    if options.html:
        atomic_write(options.html.absolute(), page)
    return STATUS[verdict]


def _check(options: argparse.Namespace) -> None:
    """Refuse options that don't belong together, before anything is computed."""
    if options.texts and not options.unseen:
        raise ValueError("--texts needs --unseen: texts of their kind that were not trained on")
    if options.members and not options.texts:
        raise ValueError("--members belongs to --texts; which regime a model is in needs neither")
    for name in ("json", "html"):
        file = getattr(options, name)
        if file and file.is_dir():
            raise ValueError(f"--{name} {file} is a folder; give a file")
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
    if options.minutes is not None and options.texts:
        raise ValueError("--minutes belongs to the audit of a regime; leave out --texts")


Found = tuple[dict[str, Any], str, str]  # numbers for JSON, the page, the verdict


def _regime(
    options: argparse.Namespace,
    model: "UDDM | DiffusionGemma",
    tokenizer: "PreTrainedTokenizerBase | None",
    given: Mapping[str, Sequence[str]],
) -> Found:
    from uddm_lib import devices
    from uddm_lib.audit import audit_page, regime
    from uddm_lib.audit.text_blocks import check_tokenizer, ends_and_room, packed

    length = model.length if options.length is None else options.length
    special: tuple[int, ...] = ()
    unseen, count = None, 512
    if tokenizer is not None:
        check_tokenizer(tokenizer, model)
        special = regime.special_tokens(tokenizer)
        if options.unseen:
            unseen = packed(given["unseen"], tokenizer, length)
    # Logits that are converted are not made in bfloat16, unless it is the model's own type.
    precision = "fp32" if model.facts.needs_conversion else options.precision
    precision = devices.computed_in(precision, model.device)
    made_in = {"torch.float32": precision}.get(str(model.dtype), str(model.dtype))
    if options.minutes is not None:
        blocks = 0 if unseen is None else len(unseen)
        count, minutes = regime.setting_for(model, length, options.minutes, precision, blocks)
        print(f"{count} sequences, about {minutes:.2g} minutes")
    audit = regime.audit_regime(
        model, count, length, special, unseen, options.seed, sys.stderr.isatty(), precision
    )
    print(f"{options.checkpoint}: {model.facts.family}, output {model.facts.output}")
    print(f"{count} sequences of {length} tokens, generated in {made_in}")
    print(f"verdict: {audit.verdict}")
    for name, probability in audit.probabilities.items():
        print(f"  {name}: probability {probability:.2f}")
    for reason in audit.reasons:
        print(f"  {reason}")
    nearest = None
    if options.training:
        assert tokenizer is not None, "--training asks for one"
        first, last, _ = ends_and_room(tokenizer, length)
        inner = audit.generated.tokens[:, len(first) : length - len(last)]
        nearest = _nearest(options.training, list(inner), tokenizer)
    birthday = vars(audit.measures.birthday)
    content = {
        "count": count,
        "length": length,
        "precision": made_in,
        "probabilities": audit.probabilities,
        "measures": {**vars(audit.measures), "birthday": birthday, **audit.features},
        "reasons": audit.reasons,
        "output": vars(audit.output),
        "generated": None if nearest is None else nearest.to_dict("records"),
    }
    name = str(options.checkpoint)
    page = audit_page.regime_page(name, vars(model.facts), audit, tokenizer, nearest)
    return content, page, audit.verdict


def _of_texts(
    options: argparse.Namespace,
    model: "UDDM | DiffusionGemma",
    tokenizer: "PreTrainedTokenizerBase | None",
    given: Mapping[str, Sequence[str]],
) -> Found:
    import torch

    from uddm_lib.audit import audit_page
    from uddm_lib.audit.significance import COLUMNS, detection_texts
    from uddm_lib.audit.texts import audit_texts

    assert tokenizer is not None, "texts are given with unseen texts, which need one"
    texts = list(given["texts"])
    audit = audit_texts(
        model,
        tokenizer,
        texts,
        given["unseen"],
        given["members"],
        length=options.length,
        level=options.level,
        seed=options.seed,
        show_progress=sys.stderr.isatty(),
    )
    print(f"{options.checkpoint}: {model.facts.family}, output {model.facts.output}")
    _print_texts(audit, texts, len(given["unseen"]))
    if audit.detection is not None:
        print("how well each score tells known members from unseen texts, with 95% intervals.")
        print(COLUMNS)
        print(detection_texts(audit.detection).to_string(index=False))
    table, shares, nearest = audit.texts, audit.detection, None
    if options.training:
        ids = [torch.tensor(tokenizer(x, add_special_tokens=False)["input_ids"]) for x in texts]
        nearest = _nearest(options.training, ids, tokenizer)
        table = table.join(nearest[["overlap", "nearest"]])
    content = {
        "level": options.level,
        "reasons": audit.reasons,
        "set_p_value": audit.set_p_value,
        "blind_p_value": audit.blind_p_value,
        "kind_p_value": audit.kind_p_value,
        "output": vars(audit.output),
        "texts": table.assign(text=texts).to_dict("records"),
        "unseen": audit.unseen.to_dict("records"),
        "detection": None if shares is None else json.loads(shares.to_json(orient="records")),
    }
    name, unseen = str(options.checkpoint), given["unseen"]
    page = audit_page.texts_page(name, vars(model.facts), audit, texts, unseen, tokenizer, nearest)
    return content, page, audit.verdict


def _nearest(
    file: str, sequences: "Sequence[Tensor]", tokenizer: "PreTrainedTokenizerBase"
) -> "pd.DataFrame":
    from uddm_lib import data
    from uddm_lib.audit.nearest import MEASURE, nearest_passages

    nearest = nearest_passages(sequences, data.iterate_texts(file), tokenizer)
    print(f"nearest passages of the training text; {MEASURE}")
    low, middle, high = nearest["overlap"].quantile([0, 0.5, 1])
    print(f"  overlap of {len(nearest)} from {low:.0%} to {high:.0%}, median {middle:.0%}")
    first = nearest.sort_values("overlap", ascending=False, kind="stable").head(SHOWN)
    for text, overlap, passage in first.itertuples(index=False):
        print(f"  {overlap:4.0%}  {text[:40]!r} ~ {passage[:40]!r}")
    return nearest


def _print_texts(audit: "TextAudit", texts: Sequence[str], unseen: int) -> None:
    print(f"{len(texts)} texts, {unseen} unseen")
    print(f"verdict: {audit.verdict}")
    for reason in audit.reasons:
        print(f"  {reason}")
    found = audit.texts[audit.texts["memorized"]].sort_values("p_value")
    for index, row in found.head(SHOWN).iterrows():
        print(f"  p = {row['p_value']:.3g}  {texts[int(str(index))][:70]!r}")
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
