"""What an audit found as one HTML page that needs no internet."""

import html
import io
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from uddm_lib.audit.calibration import labelled
from uddm_lib.audit.regime import RegimeAudit
from uddm_lib.audit.texts import TextAudit
from uddm_lib.figures import regime_measures, score_distributions

__all__ = ["regime_page", "texts_page"]

SHOWN = 12  # sequences, or texts
UNSURE = 3.0  # nats from which a token has no color
_METADATA = ("Creator", "Date", "Format", "Type")  # of a picture: left out
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff;
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem 1rem .25rem 0; text-align: left; }
svg { max-width: 100%; height: auto; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
pre span { border-radius: 2px; } .verdict { font-size: 1.25rem; font-weight: 600; }
"""


def regime_page(
    name: str,
    facts: Mapping[str, object],
    audit: RegimeAudit,
    tokenizer: PreTrainedTokenizerBase | None,
) -> str:
    """The page of a model's regime: probabilities, measures, and what it generates, token by token.

    Args:
        name: of the checkpoint.
        facts: of its output and noise.
        audit: what was found.
        tokenizer: turns tokens into text; None: their ids are shown.
    """
    count = len(audit.generated.tokens)
    figure = regime_measures(labelled(count), audit.features)
    means = audit.generated.entropies.mean(1)
    ranks = torch.linspace(0, count - 1, min(SHOWN, count)).round().long()
    chosen = means.argsort()[ranks.to(means.device)]
    heat = "".join(
        heat_map(audit.generated.tokens[i], audit.generated.entropies[i], tokenizer)
        for i in chosen.tolist()
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
<p>{len(chosen)} of {count} sequences, from the surest to the least sure. The darker a token, the
surer the model is of it, given the others: no color from {UNSURE:g} nats on. Point at a token to
read its entropy.</p>{heat}
{_facts(facts)}""",
    )


def texts_page(
    name: str, facts: Mapping[str, object], audit: TextAudit, texts: Sequence[str]
) -> str:
    """The page of an audit of texts: scores, p-values, and the texts that stand out most."""
    first = audit.texts.sort_values("p_value").head(SHOWN)
    rows = [("p-value", "memorized", "text")] + [
        (f"{row['p_value']:.3g}", "yes" if row["memorized"] else "no", texts[int(str(index))][:200])
        for index, row in first.iterrows()
    ]
    figure = score_distributions(audit.texts, audit.unseen)
    return _page(
        f"Texts that {name} has memorized",
        audit.verdict,
        audit.reasons,
        f"""<h2>Scores</h2>
<p>The mean log-probability of a text's tokens, each given all others.</p>{_svg(figure)}
<h2>The texts that stand out most</h2>{_table(rows)}
{_facts(facts)}""",
    )


def heat_map(
    tokens: Int[Tensor, " L"],
    entropies: Float[Tensor, " L"],
    tokenizer: PreTrainedTokenizerBase | None,
) -> str:
    """A sequence, each token on a background that is the darker the lower its entropy."""
    spans = []
    for token, value in zip(tokens.tolist(), entropies.tolist()):
        text = f"{token} " if tokenizer is None else str(tokenizer.decode([token]))
        text = html.escape(text).replace("\n", "&#9166;") or "&#9617;"
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
