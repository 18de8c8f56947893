"""The command ``audit``: which texts a model has memorized."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from uddm_lib.audit.texts import TextAudit
    from uddm_lib.facts import Facts

_DESCRIPTION = """\
Say which texts a uniform-state diffusion model has memorized. They are judged against texts that
it has not seen: give both, of one kind, one document a line (or JSON Lines, Parquet, and what else
the corpus text: takes).
"""
_EXAMPLE = """\
example:
  python -m uddm_lib audit models/mine --texts suspected.txt --unseen held-out.txt

exit status: 0 nothing found, 3 cannot say, 4 memorized, 5 known as a set; 2 is an error
"""
# Not 1, which Python gives for an error that nobody caught.
STATUS = {"nothing found": 0, "cannot say": 3, "memorized": 4, "known as a set": 5}
SHOWN = 10  # texts in the summary


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command's parser to those of the command line."""
    parser = commands.add_parser(
        "audit",
        help="say which texts a model has memorized",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a folder or .ckpt file; see docs/other-models.md"
    )
    parser.add_argument("--texts", required=True, metavar="FILE", help="the texts in question")
    parser.add_argument(
        "--unseen", required=True, metavar="FILE", help="texts of their kind, not trained on"
    )
    parser.add_argument(
        "--members", metavar="FILE", help="texts known to be trained on: compares the scores"
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
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all numbers here")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random; default 1")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Audit, print a summary, and return the exit status that tells the verdict.

    Raises:
        OSError, ValueError: if a file cannot be read or written; the message names it.
    """
    from uddm_lib import checkpoints, data  # late: --help should not wait for torch

    try:
        from uddm_lib.audit.texts import audit_texts
    except ModuleNotFoundError as error:
        raise ValueError(
            f"audit needs the package {error.name}: pip install 'uddm-companion[audit]'"
        ) from None

    texts, unseen = data.read_texts(options.texts), data.read_texts(options.unseen)
    members = data.read_texts(options.members) if options.members else []
    model = checkpoints.load(options.checkpoint)
    tokenizer: PreTrainedTokenizerBase
    if options.tokenizer:
        tokenizer = data.load_tokenizer(options.tokenizer)
    else:
        tokenizer = checkpoints.load_tokenizer(options.checkpoint)
    audit = audit_texts(
        model, tokenizer, texts, unseen, members, level=options.level, seed=options.seed
    )
    _print_summary(options.checkpoint, model.facts, audit, texts, len(unseen))
    if options.json:
        table = audit.detection
        content = {
            "checkpoint": str(options.checkpoint),
            "facts": vars(model.facts),
            "level": options.level,
            "seed": options.seed,
            "verdict": audit.verdict,
            "reasons": audit.reasons,
            "set_p_value": audit.set_p_value,
            "blind_p_value": audit.blind_p_value,
            "kind_p_value": audit.kind_p_value,
            "texts": audit.texts.assign(text=texts).to_dict("records"),
            "unseen": audit.unseen.to_dict("records"),
            "detection": None if table is None else json.loads(table.to_json(orient="records")),
        }
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return STATUS[audit.verdict]


def _print_summary(
    checkpoint: str, facts: "Facts", audit: "TextAudit", texts: list[str], unseen: int
) -> None:
    print(f"{checkpoint}: {facts.family}, output {facts.output}")
    print(f"{len(texts)} texts, {unseen} unseen")
    print(f"verdict: {audit.verdict}")
    for reason in audit.reasons:
        print(f"  {reason}")
    found = audit.texts[audit.texts["memorized"]].sort_values("p_value")
    for index, row in found.head(SHOWN).iterrows():
        print(f"  p = {row['p_value']:.3g}  {texts[int(str(index))][:70]!r}")
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
    if audit.detection is not None:
        print("how well each score tells the known members from the unseen texts:")
        print(audit.detection.round(3).to_string(index=False))
