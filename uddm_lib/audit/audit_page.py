"""What an audit found as one HTML page that needs no internet."""

import html
import io
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib.audit.calibration import labelled
from uddm_lib.audit.nearest import MEASURE
from uddm_lib.audit.regime import RegimeAudit
from uddm_lib.audit.significance import COLUMNS, detection_texts
from uddm_lib.audit.texts import SCORE, TextAudit
from uddm_lib.figures import regime_measures, score_distributions

__all__ = ["heat_map", "pieces_of_text", "regime_page", "texts_page"]

SHOWN = 12  # sequences, or texts
COMPARED = 4  # unseen texts
TOKENS = 500  # of a text
UNSURE = 3.0  # nats from which a token has no color
_METADATA = ("Creator", "Date", "Format", "Type")  # of a picture: left out
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616; } }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem 1rem .25rem 0; text-align: left; }
svg { max-width: 100%; height: auto; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
pre { margin: .25rem 0 1.25rem; } p:has(+ pre) { margin-bottom: 0; }
pre:has(+ .near) { margin-bottom: 0; } .near { margin-top: .25rem; opacity: .8; }
.near + pre { opacity: .8; margin-top: 0; }
pre span { border-radius: 2px; } .verdict { font-size: 1.25rem; font-weight: 600; }
"""


def regime_page(
    name: str,
    facts: Mapping[str, object],
    audit: RegimeAudit,
    tokenizer: PreTrainedTokenizerBase | None,
    nearest: pd.DataFrame | None = None,
) -> str:
    """The page of a model's regime: probabilities, measures, and what it generates, token by token.

    Args:
        name: of the checkpoint.
        facts: of its output and noise.
        audit: what was found.
        tokenizer: turns tokens into text; None: their ids are shown.
        nearest: of every sequence that it generated, by
            :func:`~uddm_lib.audit.nearest.nearest_passages`.
    """
    count = len(audit.generated.tokens)
    figure = regime_measures(labelled(count), audit.features)
    means = audit.generated.entropies.mean(1)
    ranks = torch.linspace(0, count - 1, min(SHOWN, count)).round().long()
    chosen = means.argsort()[ranks.to(means.device)].tolist()
    heat = "".join(
        heat_map(audit.generated.tokens[i], audit.generated.entropies[i], tokenizer)
        + _nearest(nearest, i)
        for i in chosen
    )
    rows = [(regime, f"{p:.2f}") for regime, p in audit.probabilities.items()]
    return _page(
        f"Regime of {name}",
        audit.verdict,
        audit.reasons,
        f"""<h2>Probabilities</h2>{_table(rows)}
<h2>Among the models of the calibration</h2>
<p>The gray line is this model. A point is a model whose regime is known.</p>{_svg(figure)}
<h2>What it generates</h2>
<p>{len(chosen)} of {count} sequences, from the surest to the least sure. The color says how sure
the model is of a token, given the others. Point at a token to read its entropy.</p>
{_key("entropy")}
{heat}{_measure(nearest)}
{_facts(facts)}""",
    )


def texts_page(
    name: str,
    facts: Mapping[str, object],
    audit: TextAudit,
    texts: Sequence[str],
    unseen: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    nearest: pd.DataFrame | None = None,
) -> str:
    """The page of an audit of texts: scores, p-values, and the texts token by token.

    Args:
        name: of the checkpoint.
        facts: of its output and noise.
        audit: what was found.
        texts: the ones in question.
        unseen: the reference, of which some are shown.
        tokenizer: the model's.
        nearest: of every text in question, by
            :func:`~uddm_lib.audit.nearest.nearest_passages`.
    """
    first = audit.texts.sort_values(SCORE, ascending=False).head(SHOWN)
    suspected = ""
    for i, row in zip(map(int, first.index), first.to_dict("records")):
        memorized = "memorized" if row["memorized"] else "not found to be memorized"
        suspected += f"<p>p-value {row['p_value']:.3g}, {memorized}</p>\n"
        suspected += _heat_of_text(texts[i], audit.log_p[i], tokenizer) + _nearest(nearest, i)
    order = audit.unseen[SCORE].argsort().to_numpy()
    ranks = torch.linspace(0, len(order) - 1, min(COMPARED, len(order))).round().int().tolist()
    others = "".join(
        _heat_of_text(unseen[i], audit.log_p[len(texts) + i], tokenizer) for i in order[ranks][::-1]
    )
    figure = score_distributions(audit.texts, audit.unseen, SCORE)
    return _page(
        f"Texts that {name} has memorized",
        audit.verdict,
        audit.reasons,
        f"""<h2>Scores</h2>
<p>The mean log-probability of a text's tokens, each given all others.</p>{_svg(figure)}
<h2>The texts that stand out most</h2>
<p>{len(first)} of {len(texts)}. The color says how well the model knows a token, given the others.
Point at a token to read minus its log-probability.</p>{_key("minus log-probability")}
{suspected}{_measure(nearest)}
<h2>Unseen texts, for comparison</h2>
<p>{len(ranks)} of {len(unseen)}, from the highest score to the lowest.</p>{others}
{_detection(audit.detection)}{_facts(facts)}""",
    )


def pieces_of_text(text: str, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text in pieces, one a token; some are empty where a character takes several tokens."""
    spans = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    ends = [*accumulate((end for _, end in spans), max)]
    pieces = [text[start:end] for start, end in pairwise([0, *ends])]
    pieces[-1] += text[ends[-1] :]
    return pieces


def _detection(table: pd.DataFrame | None) -> str:
    if table is None:
        return ""
    texts = detection_texts(table)
    rows = [tuple(texts), *texts.itertuples(index=False, name=None)]
    return f"""<h2>How well each score tells known members from unseen texts</h2>
<p>With 95 % intervals. {COLUMNS}</p>{_table(rows)}
"""


def _heat_of_text(text: str, log_p: Float[Tensor, " n"], tokenizer: PreTrainedTokenizerBase) -> str:
    heat = _colored(pieces_of_text(text, tokenizer)[:TOKENS], (-log_p[:TOKENS]).tolist())
    if len(log_p) > TOKENS:
        heat += f"<p>and {len(log_p) - TOKENS} more tokens</p>\n"
    return heat


def _nearest(nearest: pd.DataFrame | None, index: int) -> str:
    if nearest is None:
        return ""
    overlap, passage = nearest.iloc[index][["overlap", "nearest"]]
    text = html.escape(passage[: 10 * TOKENS]).replace("\n", "&#9166;")
    return (
        f'<p class="near">nearest in the training text, overlap {overlap:.0%}:</p>\n'
        f"<pre>{text}</pre>\n"
    )


def _measure(nearest: pd.DataFrame | None) -> str:
    return "" if nearest is None else f"<p>{MEASURE[0].upper()}{MEASURE[1:]}.</p>"


def _key(what: str) -> str:
    steps = [f" {nats:g} " for nats in (0, 1, 2)] + [f" {UNSURE:g} or more "]
    return f"<p>{what} in nats:</p>\n{_colored(steps, [0.0, 1.0, 2.0, UNSURE])}"


def heat_map(
    tokens: Int[Tensor, " L"],
    entropies: Float[Tensor, " L"],
    tokenizer: PreTrainedTokenizerBase | None,
) -> str:
    """A sequence, each token on a background that is the stronger the lower its entropy."""
    pieces = [
        f"{token} " if tokenizer is None else str(tokenizer.decode([token]))
        for token in tokens.tolist()
    ]
    return _colored(pieces, entropies.tolist())


def _colored(pieces: Iterable[str], values: Iterable[float]) -> str:
    """Pieces of text, each on a background that is the stronger the lower its value in nats."""
    spans = []
    for piece, value in zip(pieces, values):
        text = html.escape(piece).replace("\n", "&#9166;") or "&#9617;"
        strength = 0.75 * max(0.0, 1 - value / UNSURE)
        spans.append(
            f'<span title="{value:.2f} nats" style="background:rgba(0,114,178,{strength:.2f})">'
            f"{text}</span>"
        )
    return f"<pre>{''.join(spans)}</pre>\n"


def _page(title: str, verdict: str, reasons: Sequence[str], content: str) -> str:
    items = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p class="verdict">{html.escape(verdict)}</p>
<ul>{items}</ul>
{content}
</body>
</html>
"""


def _facts(facts: Mapping[str, object]) -> str:
    return f"<h2>What was assumed of the model</h2>{_table([*facts.items()])}"


def _table(rows: Sequence[tuple[object, ...]]) -> str:
    cells = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(_METADATA))
    return buffer.getvalue().partition("?>")[2].partition(">")[2]  # without the two declarations
