"""A text that a person types, corrupted and restored: a widget of Jupyter, or one picture of it."""

import importlib.util
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from uddm_lib.experiments import TrainedRun, film_table, restore_states

if TYPE_CHECKING:
    from ipywidgets import VBox  # type: ignore[import-untyped]
    from matplotlib.figure import Figure

__all__ = ["restoration_widget", "restored_text", "tokens_of_text", "view"]

STEPS = 100  # of the reverse process over (0, 1]


def view(
    runs: Sequence[TrainedRun], text: str, t: float, seed: int, interactive: bool
) -> "VBox | Figure":
    """The widget of :func:`restoration_widget`, or where there can be none the picture in it.

    Args:
        runs: of one corpus.
        text: to begin with.
        t, seed: likewise.
        interactive: whether a person can use a widget. Without ipywidgets there is a picture too.
    """
    if interactive and importlib.util.find_spec("ipywidgets"):
        return restoration_widget(runs, text, t, seed)
    return restored_text(runs, text, t, seed)


def restoration_widget(runs: Sequence[TrainedRun], text: str, t: float, seed: int) -> "VBox":
    """Fields for the text, the model, t and the seed, above the picture of :func:`restored_text`.

    Raises:
        ImportError: without ipywidgets, which comes with Jupyter.
    """
    import ipywidgets as widgets  # late: nothing else needs it

    models = {f"{run.labels['size']}, n = {run.labels['n']:,}": [run] for run in runs}
    wide = widgets.Layout(width="42em")
    fields = {
        "text": widgets.Textarea(text, continuous_update=False, layout=wide),
        "runs": widgets.Dropdown(options={"all": list(runs), **models}),
        "t": widgets.FloatSlider(t, min=0.01, max=1, step=0.01, continuous_update=False),
        "seed": widgets.BoundedIntText(seed, min=0, max=2**31),
    }
    message, picture = widgets.Label(), widgets.Image(format="png")

    def show(_: object = None) -> None:
        try:
            figure = restored_text(**{name: field.value for name, field in fields.items()})
        except ValueError as error:
            message.value = str(error)
            return
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        message.value, picture.value = "", buffer.getvalue()

    for name, field in fields.items():
        field.description = "model" if name == "runs" else name
        field.observe(show, "value")
    show()
    return widgets.VBox([*fields.values(), message, picture])


def restored_text(runs: Sequence[TrainedRun], text: str, t: float, seed: int) -> "Figure":
    """A film strip of a text for every run, with entropies as colors.

    Raises:
        ValueError: if the text has a character that the tokenizer lacks, or ``t`` is outside
            (0, 1].
    """
    from uddm_lib import figures  # late: the base package does without matplotlib

    x = tokens_of_text(runs[0], text)
    restored = [restore_states(run, x, t, STEPS, seed) for run in runs]
    corpus, vocab_size = runs[0].labels["corpus"], runs[0].model.vocab_size
    return figures.film_strip(film_table(restored, 0), corpus, "entropy", vocab_size)


def tokens_of_text(run: TrainedRun, text: str) -> Int[Tensor, "1 L"]:
    """As many tokens as the model reads: those of the text, then those of an unseen sequence.

    What is too long is cut. Between the two comes the end of a document, if the run has that token.

    Raises:
        ValueError: if the text has a character that the tokenizer lacks.
    """
    try:
        ids = run.tokenizer(text, add_special_tokens=False).input_ids
    except Exception as error:  # tokenizers raise nothing more special
        raise ValueError(f"text={text!r} has a character that the corpus lacks: {error}") from None
    end = [] if run.tokenizer.eos_token_id is None else [run.tokenizer.eos_token_id]
    x = run.test[-1:].long().clone()  # the run keeps its own
    rest = x[0, run.scored]
    typed = torch.tensor([*ids, *end][: len(rest)], dtype=rest.dtype)
    x[0, run.scored] = torch.cat([typed, rest[: len(rest) - len(typed)]])
    return x
